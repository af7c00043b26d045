"""Nuclei of our own: `our_nuclei/case01_1.png` with `our_nuclei/case01_1_objects.png`, which numbers the nuclei."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from histoseg.errors import DataError
from histoseg.files.folders import by_name, pair, require_unique, scan
from histoseg.files.images import read_image
from histoseg.files.labels import read_instance_map
from histoseg.types import Entry, Sample, Task

TASK = Task(
    name="our_nuclei",
    title="Our nuclei",
    classes=("background", "nucleus"),
    mpp=0.5,  # Scanned at 20x
    licence="that of our own data",
    kind="instance",
    structure="nuclei",  # So Cerberus learns nuclei from it, too.
)
OBJECTS = "_objects"


def entries(root: Path) -> list[Entry]:
    """The images below a folder, pairs checked, no pixel read; a name begins with its patient."""
    named = by_name(scan(root), r"case\d+_.+\.png", lambda folder: folder.name == TASK.name)
    images = {name: path for name, path in named.items() if not name.endswith(OBJECTS)}
    objects = {name.removesuffix(OBJECTS): path for name, path in named.items() if name.endswith(OBJECTS)}
    pairs = pair(root, TASK.title, "our_nuclei/case*_*.png with *_objects.png", images, objects)
    return require_unique([Entry(key=name, patient=name.split("_")[0], files=files) for name, files in pairs.items()])


def read(entry: Entry) -> Sample:
    """One image, which object each pixel belongs to, and the class of that object."""
    image = read_image(entry.files["image"])
    instance_map = read_instance_map(entry.files["annotation"])
    if instance_map.shape != image.shape[:2]:
        path, found, wanted = entry.files["annotation"], instance_map.shape, image.shape[:2]
        raise DataError(f"{path}: {found} pixels, but its image has {wanted}; export it again")
    semantic_map = (instance_map > 0).astype(np.uint8)
    return Sample(
        key=entry.key,
        patient=entry.patient,
        image=image,
        semantic_map=semantic_map,
        mpp=TASK.mpp,
        instance_map=instance_map,
    )


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Dark discs on pink noise in the same layout, two images of each of nine patients: to try all without data."""
    folder = root / TASK.name
    folder.mkdir(parents=True)
    for case in range(1, 10):
        for number in (1, 2):
            instance_map = np.zeros((128, 128), np.uint8)
            for i in range(1, 13):
                cv2.circle(instance_map, rng.integers(8, 120, 2).tolist(), int(rng.integers(4, 8)), i, cv2.FILLED)
            pixels = rng.integers(170, 256, (128, 128, 3)).astype(np.uint8)
            pixels[instance_map > 0] //= 3
            Image.fromarray(pixels).save(folder / f"case{case:02}_{number}.png")
            Image.fromarray(instance_map).save(folder / f"case{case:02}_{number}{OBJECTS}.png")
