"""Made-up tissue of three classes, for trying and testing without any download."""

from pathlib import Path

import numpy as np

from histoseg.demo import drawing as _drawing
from histoseg.sources import _files
from histoseg.types import Entry, Image, Sample, SemanticMap, Task

TASK = Task(
    name="synthetic",
    title="Synthetic",
    classes=("stroma", "gland", "tumour"),
    mpp=0.5,  # Chosen: glands of 40 to 80 px are then as large as real ones of 20 to 40 um.
    licence="CC0 1.0",
)

FOLDER = "synthetic"
MASK = "_mask"


def entries(root: Path) -> list[Entry]:
    """The images that `write_demo` wrote, pairs checked, no pixel read.

    Raises:
        MissingSourceError: If there is neither image nor mask in a folder `synthetic`.
        DataError: If an image or a mask is missing.
    """
    paths = _files.select(_files.scan(root), r"patient\d+_.+\.png", lambda folder: folder.name == FOLDER)
    named = _files.by_name(paths, lambda path: path.stem)
    images = {name: path for name, path in named.items() if not name.endswith(MASK)}
    masks = {name.removesuffix(MASK): path for name, path in named.items() if name.endswith(MASK)}
    if not images and not masks:
        raise _files.missing(root, TASK.title, "synthetic/patient*_*.png with *_mask.png")
    _files.require_pairs(TASK.title, images, masks)
    return _files.require_unique(
        [
            Entry(key=name, patient=name.partition("_")[0], files={"image": image, "annotation": masks[name]})
            for name, image in images.items()
        ]
    )


def read(entry: Entry) -> Sample:
    """One image and its class ids.

    Raises:
        DataError: If a file is damaged, the two differ in size, or a class does not exist.
    """
    image = _files.read_image(entry.files["image"])
    semantic_map = _files.read_labels(entry.files["annotation"])
    return _files.make_sample(entry, image, semantic_map, num_classes=TASK.num_classes, mpp=TASK.mpp)


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write twelve images of eight patients."""
    stains = [_drawing.draw_stain(rng) for _ in range(8)]
    for i in range(12):
        image, semantic_map = _draw(stains[i % 8], rng)
        name = f"patient{i % 8 + 1:02}_image{i + 1:02}"
        _files.write_image(root / FOLDER / f"{name}.png", image)
        _files.write_image(root / FOLDER / f"{name}{MASK}.png", semantic_map)


def _draw(stain: _drawing.Stain, rng: np.random.Generator) -> tuple[Image, SemanticMap]:
    """Stroma with round glands, and a tumour of crowded cells."""
    size = (int(rng.integers(192, 257)), int(rng.integers(192, 257)))
    canvas = _drawing.draw_stroma(size, rng)
    _drawing.add_nuclei(canvas, _drawing.scatter(np.ones(size, bool), 24.0, rng), _drawing.SPINDLE, rng)
    semantic_map = np.zeros(size, np.uint8)
    for centre, radius in _drawing.pack(size, (20.0, 38.0), 7, rng, gap=1.15):
        curve = _drawing.outline(centre, radius, rng, wobble=0.08)
        semantic_map[_drawing.add_gland(canvas, curve, _drawing.Cell(radius_px=3.0, length=1.7), rng)] = 1
    centre = rng.uniform(0.2, 0.8, 2) * (size[1], size[0])
    tumour = _drawing.fill(size, _drawing.outline(centre, float(rng.uniform(40, 65)), rng, wobble=0.2))
    semantic_map[tumour] = 2
    _drawing.add_tissue(canvas, tumour, haematoxylin=0.25, eosin=0.45, rng=rng)
    cell = _drawing.Cell(radius_px=4.0, length=1.3, dark=1.05, spread=0.3)
    _drawing.add_nuclei(canvas, _drawing.scatter(tumour, 11.0, rng), cell, rng)
    return _drawing.render(canvas, stain, rng), semantic_map
