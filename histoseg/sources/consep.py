"""CoNSeP: nuclei of the colon by type (Graham et al. 2019, HoVer-Net)."""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from histoseg.demo import drawing as _drawing
from histoseg.errors import ConfigError, DataError
from histoseg.sources import _files, _mat
from histoseg.types import Entry, Image, Sample, SemanticMap, Task

logger = logging.getLogger(__name__)

TASK = Task(
    name="consep",
    title="CoNSeP",
    classes=("background", "other", "inflammatory", "epithelial", "spindle-shaped"),
    mpp=0.25,  # 40x (Graham et al. 2019).
    licence="research, non-commercial (Warwick TIA Centre)",
    kind="instance",
    structure="nuclei",
)

TYPES = ("auto", "published", "merged")
# Published: 1 other, 2 inflammatory, 3 healthy and 4 malignant epithelial, 5 fibroblast, 6 muscle, 7 endothelial;
# merged as in Graham et al. 2019.
MERGED = np.array([0, 1, 2, 3, 3, 4, 4, 4], np.uint8)


def entries(root: Path, *, types: str = "auto") -> list[Entry]:
    """The images of both official parts, pairs checked, no pixel read. Names tell no patient: each is its own.

    Args:
        root: The folder that holds the data set, or one above it.
        types: Whether the files have the seven published types or the four merged ones. The number 4 means malignant
            epithelium in one and spindle-shaped in the other, so one file may not tell: "auto" takes the whole folder
            as merged if no nucleus in it has a type above 4. Say "published" for a selection without such nuclei.

    Raises:
        ConfigError: If `types` is none of these.
        MissingSourceError: If there is neither image nor label.
        DataError: If a pair is incomplete or a label file is damaged.
    """
    if types not in TYPES:
        raise ConfigError(f"no types {types!r} for {TASK.name}; choose from {', '.join(TYPES)}")
    folders = _files.scan(root)
    images = _files.by_name(_files.select(folders, r".+\.png", lambda folder: _is_part(folder, "images", root)), _name)
    labels = _files.by_name(_files.select(folders, r".+\.mat", lambda folder: _is_part(folder, "labels", root)), _name)
    if not images and not labels:
        raise _files.missing(root, TASK.title, "CoNSeP/Train and CoNSeP/Test with Images/*.png and Labels/*.mat")
    _files.require_pairs(TASK.title, images, labels)
    if types == "auto":
        types = _detect(labels.values())
    return _files.require_unique(
        [
            Entry(key=name, patient=name, files={"image": image, "annotation": labels[name]}, options={"types": types})
            for name, image in images.items()
        ]
    )


def _name(path: Path) -> str:
    return _files.make_key(path.stem)


def _is_part(folder: Path, kind: str, root: Path) -> bool:
    """Whether a folder is `Train/Images` or the like of CoNSeP; Kumar's and CPM's sets have the same inner folders."""
    return _files.plain(folder.name) == kind and _files.in_part(folder, root, "consep", ("train", "test"))


def _detect(paths: Iterable[Path]) -> str:
    highest = max((_load(path, "inst_type")["inst_type"].max(initial=0) for path in paths), default=0)
    return "published" if highest > 4 else "merged"


def _load(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Arrays of a label file."""
    content = _mat.load(path, names)
    if lacking := [name for name in names if name not in content]:
        raise DataError(f"{path}: has no {lacking[0]}; expected inst_map, type_map and inst_type; fetch it again")
    return content


def read(entry: Entry) -> Sample:
    """One image, its nuclei and the type of each pixel's nucleus.

    Raises:
        DataError: If a file is damaged, the two differ in size, or a type does not exist.
    """
    image = _files.read_image(entry.files["image"])
    path = entry.files["annotation"]
    content = _load(path, "inst_map", "type_map")
    semantic_map = _to_classes(content["type_map"], entry.options["types"], path)
    instance_map = _mat.to_instance_map(content["inst_map"], path)
    sample = _files.make_sample(
        entry, image, semantic_map, num_classes=TASK.num_classes, mpp=TASK.mpp, instance_map=instance_map
    )
    if differing := int(((instance_map > 0) != (semantic_map > 0)).sum()):
        logger.info("%s: %s pixels have a nucleus but no type, or a type but no nucleus", path, differing)
    return sample


def _to_classes(type_map: np.ndarray, types: str, path: Path) -> SemanticMap:
    highest = 7 if types == "published" else 4
    if type_map.ndim != 2 or not np.isin(type_map, np.arange(highest + 1)).all():
        raise DataError(
            f"{path}: type_map of shape {type_map.shape} with values up to {type_map.max(initial=0)};"
            f" expected two axes and types 0 to {highest} ({types}); fetch it again"
        )
    class_ids = type_map.astype(np.uint8)
    return MERGED[class_ids] if types == "published" else class_ids


CELLS = {  # By published type.
    1: _drawing.Cell(radius_px=4.0, length=1.6, dark=0.55),
    2: _drawing.Cell(radius_px=4.0, length=1.05, dark=1.45, spread=0.08),
    3: _drawing.Cell(radius_px=6.5, length=1.7, dark=0.8, spread=0.08),
    4: _drawing.Cell(radius_px=8.5, length=1.3, dark=1.0, spread=0.3),
    5: _drawing.Cell(radius_px=4.5, length=3.0, dark=0.85),
    6: _drawing.Cell(radius_px=4.5, length=4.0, dark=0.75),
    7: _drawing.Cell(radius_px=4.0, length=2.4, dark=0.95),
}


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write six made-up training and three test images in the published layout, with the seven types."""
    for i in range(9):
        part, name = ("Train", f"train_{i + 1}") if i < 6 else ("Test", f"test_{i - 5}")
        image, inst_map, type_map = _draw(rng)
        folder = root / "CoNSeP" / part
        _files.write_image(folder / "Images" / f"{name}.png", image)
        _write_mat(folder / "Labels" / f"{name}.mat", inst_map, type_map)


def _draw(rng: np.random.Generator) -> tuple[Image, np.ndarray, np.ndarray]:
    """Nests of healthy or malignant epithelium, and stroma with all other types."""
    size = (256, 256)
    canvas, stain = _drawing.draw_stroma(size, rng), _drawing.draw_stain(rng)
    nests = _drawing.noise(size, 75.0, rng) > 0.2
    inflamed = (_drawing.noise(size, 70.0, rng) > 0.5) & ~nests
    quiet = ~nests & ~inflamed
    _drawing.add_tissue(canvas, nests, haematoxylin=0.18, eosin=0.42, rng=rng)
    inst_map, type_map = np.zeros(size, np.int32), np.zeros(size, np.uint8)
    epithelial = int(rng.integers(3, 5))
    for where, kinds, spacing in (
        (nests, (epithelial,), 23.0),
        (inflamed, (2, 2, 2, 1), 13.0),
        (quiet, (1, 5, 6, 7), 26.0),
    ):
        for spot in _drawing.scatter(where, spacing, rng):
            kind = int(rng.choice(kinds))
            nucleus = _drawing.fill(size, _drawing.add_nuclei(canvas, spot[None], CELLS[kind], rng)[0])
            inst_map[nucleus], type_map[nucleus] = inst_map.max() + 1, kind
    return _drawing.render(canvas, stain, rng), inst_map, type_map


def _write_mat(path: Path, inst_map: np.ndarray, type_map: np.ndarray) -> None:
    """Write a label file as published: float64, one row of `inst_type` per nucleus."""
    numbers, first = np.unique(inst_map, return_index=True)
    inst_type = type_map.ravel()[first[numbers > 0]][:, None].astype(np.float64)
    content = {"inst_map": inst_map.astype(np.float64), "type_map": type_map.astype(np.float64), "inst_type": inst_type}
    _mat.write(path, content)
