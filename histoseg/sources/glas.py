"""GlaS (Warwick-QU): glands of the colon, benign and malignant (Sirinukunwattana et al. 2017)."""

from pathlib import Path

import numpy as np

from histoseg.demo import drawing as _drawing
from histoseg.errors import DataError
from histoseg.sources import _files
from histoseg.types import Entry, Sample, Task

TASK = Task(
    name="glas",
    title="GlaS",
    classes=("background", "gland"),
    mpp=0.62,  # Scanned at 0.465, published rescaled to 0.620 (Sirinukunwattana et al. 2017).
    licence="research use only (GlaS challenge terms)",
    kind="instance",
    structure="gland",
)

IMAGE = r"(train|testA|testB)_\d+\.bmp"
ANNOTATION = r"(train|testA|testB)_\d+_anno\.bmp"
FOLDER = "Warwick QU Dataset (Released 2016_07_08)"


def entries(root: Path) -> list[Entry]:
    """The images of all three official parts, pairs checked, no pixel read.

    Raises:
        MissingSourceError: If neither images nor annotations are there.
        DataError: If a pair is incomplete, or `Grade.csv`, the only file that names patients, lacks an image.
    """
    folders = _files.scan(root)
    images = _files.by_name(_files.select(folders, IMAGE), lambda path: path.stem)
    annotations = _files.by_name(_files.select(folders, ANNOTATION), lambda path: path.stem.removesuffix("_anno"))
    if not images and not annotations:
        raise _files.missing(root, TASK.title, "train_1.bmp and train_1_anno.bmp")
    _files.require_pairs(TASK.title, images, annotations)
    patients = _read_patients(next(iter(images.values())).parent / "Grade.csv")
    if unknown := sorted(images.keys() - patients.keys()):
        raise DataError(f"{TASK.title}: Grade.csv has no row for {unknown[0]}; fetch Grade.csv again")
    return _files.require_unique(
        [
            Entry(key=name, patient=patients[name], files={"image": image, "annotation": annotations[name]})
            for name, image in images.items()
        ]
    )


def _read_patients(path: Path) -> dict[str, str]:
    """Each image's patient. Names and values have blanks before them, as published."""
    rows = _files.read_csv(path, ("name", "patient ID"), tells="which images are of one patient")
    return {row["name"]: f"patient{row['patient ID']}" for row in rows}


def read(entry: Entry) -> Sample:
    """One image; every gland is class 1, and the annotation numbers them.

    Raises:
        DataError: If a file is damaged or the two differ in size.
    """
    return _files.read_numbered(entry, TASK)


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write fourteen small made-up images of eight patients in the published layout."""
    folder = root / "GlaS" / FOLDER
    stains = [_drawing.draw_stain(rng) for _ in range(8)]
    names = [f"train_{i}" for i in range(1, 9)] + [f"testA_{i}" for i in range(1, 5)] + ["testB_1", "testB_2"]
    rows = ["name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)"]
    for i, name in enumerate(names):
        malignant = i % 2 == 1
        image, instance_map = _draw(stains[i % 8], rng, malignant=malignant)
        _files.write_image(folder / f"{name}.bmp", image)
        _files.write_image(folder / f"{name}_anno.bmp", instance_map)
        rows.append(f"{name},{i % 8 + 1}, {'malignant, poorly differentiated' if malignant else 'benign, healthy'}")
    (folder / "Grade.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _draw(stain: _drawing.Stain, rng: np.random.Generator, *, malignant: bool) -> tuple[np.ndarray, np.ndarray]:
    """An image and its gland numbers; malignant glands are ragged with little lumen."""
    size = (int(rng.integers(200, 241)), int(rng.integers(280, 321)))
    canvas = _drawing.draw_stroma(size, rng)
    _drawing.add_nuclei(canvas, _drawing.scatter(np.ones(size, bool), 21.0, rng), _drawing.SPINDLE, rng)
    instance_map = np.zeros(size, np.uint8)
    radii = (20.0, 42.0) if malignant else (26.0, 46.0)
    cell = _drawing.Cell(radius_px=3.2 if malignant else 2.7, length=1.4 if malignant else 2.0)
    for number, (centre, radius) in enumerate(_drawing.pack(size, radii, 9, rng, gap=1.12), start=1):
        curve = _drawing.outline(centre, radius, rng, wobble=0.14 if malignant else 0.07)
        lumen = float(rng.uniform(0.12, 0.4) if malignant else rng.uniform(0.4, 0.6))
        instance_map[_drawing.add_gland(canvas, curve, cell, rng, lumen)] = number
    return _drawing.render(canvas, stain, rng), instance_map
