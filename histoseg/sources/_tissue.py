"""Tiles in one folder per class, and the class of Cerberus that each folder stands for."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from histoseg.errors import ConfigError, DataError
from histoseg.files.folders import Folders, make_key, missing, plain, scan, select
from histoseg.files.images import read_image
from histoseg.sources._samples import make_sample
from histoseg.structures import TISSUE_CLASSES
from histoseg.types import Entry, Sample, Task

logger = logging.getLogger(__name__)

CLASSES = TISSUE_CLASSES

# The harmonisation is OUR INFERENCE: Graham et al. 2023 train on three sets with nine classes together, but only a
# figure shows which folder became which class; the published code has no table. Debris of Kather 5K includes mucus.
KATHER5K = {
    "01_TUMOR": "abnormal_epithelium",
    "02_STROMA": "stroma",
    "04_LYMPHO": "inflammatory",
    "05_DEBRIS": "debris",
    "06_MUCOSA": "normal_epithelium",
    "07_ADIPOSE": "adipose",
    "08_EMPTY": "background",
}
NCT_CRC_HE = {
    "ADI": "adipose",
    "BACK": "background",
    "DEB": "debris",
    "LYM": "inflammatory",
    "MUC": "mucous",
    "MUS": "muscle",
    "NORM": "normal_epithelium",
    "STR": "stroma",
    "TUM": "abnormal_epithelium",
}
CRC_TP = {
    "Benign": "normal_epithelium",
    "Debris": "debris",
    "Inflammatory": "inflammatory",
    "Muscle": "muscle",
    "Stroma": "stroma",
    "Tumor": "abnormal_epithelium",
}
# Stroma full of tumour or immune cells: not certainly `stroma`, nor any other class.
COMPLEX_STROMA = ("03_COMPLEX", "Complex Stroma", "Complex")
COMPLEX_CHOICES = ("leave-out", "stroma")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the tiles of a data set lie on disk.

    Attributes:
        folders: The class of each class folder; all of them must be there.
        is_set: Whether a folder holds class folders of this data set.
        wanted: What to look for, for the message where the data set is missing.
        ambiguous: Optional class folders without a certain class.
    """

    title: str
    folders: Mapping[str, str]
    is_set: Callable[[Path], bool]
    wanted: str
    ambiguous: Collection[str] = field(default=())


def find(root: Path, layout: Layout, *, complex_stroma: str = "leave-out") -> dict[Path, int]:
    """The class of each tile, no pixel read; ambiguous ones are left out and counted, or become stroma."""
    if complex_stroma not in COMPLEX_CHOICES:
        raise ConfigError(f"no complex_stroma {complex_stroma!r}; choose from {', '.join(COMPLEX_CHOICES)}")
    folders = scan(root)
    meanings = {plain(name): CLASSES.index(meaning) for name, meaning in layout.folders.items()}
    ambiguous = {plain(name): CLASSES.index("stroma") for name in layout.ambiguous}
    known = meanings | ambiguous
    inside = [folder for folder in folders if plain(folder.name) in known and layout.is_set(folder.parent)]
    if not inside:
        raise missing(root, layout.title, layout.wanted)
    _require_all(inside, layout)
    tiles = {path: known[plain(folder.name)] for folder in inside for path in _images(folder, folders)}
    if complex_stroma == "stroma":
        return tiles
    kept = {path: class_id for path, class_id in tiles.items() if plain(path.parent.name) in meanings}
    if left := len(tiles) - len(kept):
        logger.info("%s: %s tiles of complex stroma left out; complex_stroma=stroma keeps them", layout.title, left)
    return kept


def _images(folder: Path, folders: Folders) -> list[Path]:
    paths = select({folder: folders[folder]}, r".+\.(tiff?|png|jpe?g)")
    if not paths:
        raise DataError(f"{folder}: a class without image; unpack the whole data set")
    return paths


def _require_all(inside: Sequence[Path], layout: Layout) -> None:
    """Refuse a data set without one of its classes: a network would silently never learn it."""
    for parent in sorted({folder.parent for folder in inside}):
        there = {plain(folder.name) for folder in inside if folder.parent == parent}
        if lacking := [name for name in layout.folders if plain(name) not in there]:
            raise DataError(
                f"{parent}: no folder {', '.join(lacking)}; {layout.title} has one per class; unpack the whole data set"
            )


def make_entry(path: Path, class_id: int, key: str, patient: str | None = None) -> Entry:
    """The entry of a tile; a tile without a known patient is its own patient."""
    key = make_key(key)
    return Entry(key=key, patient=patient or key, files={"image": path}, options={"class_id": class_id})


def read(entry: Entry, task: Task) -> Sample:
    """One tile; every pixel has its class."""
    image = read_image(entry.files["image"])
    semantic_map = np.full(image.shape[:2], entry.options["class_id"], np.uint8)
    return make_sample(entry, task, image, semantic_map)
