"""Tiles in a folder per class, and what those folders mean in the nine classes of Cerberus."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from histoseg.demo import tissue as _tissue_drawing
from histoseg.errors import ConfigError, DataError
from histoseg.sources import _files
from histoseg.types import Entry, Sample, Task

logger = logging.getLogger(__name__)

CLASSES = (
    "background",
    "abnormal_epithelium",
    "normal_epithelium",
    "inflammatory",
    "muscle",
    "stroma",
    "debris",
    "mucous",
    "adipose",
)

# The harmonisation is OUR INFERENCE: Graham et al. 2023 train on three sets with nine classes together, but show which
# folder became which class in a figure only, and the published code has no table. Debris of Kather 5K includes mucus.
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
# Stroma full of tumour or immune cells: neither `stroma` nor another class for sure.
COMPLEX_STROMA = ("03_COMPLEX", "Complex Stroma", "Complex")
COMPLEX_CHOICES = ("leave-out", "stroma")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a set of tiles lies on disk.

    Attributes:
        title: The set's name in messages.
        folders: The class of each class folder; all of them must be there.
        is_set: Whether a folder is one that holds class folders.
        wanted: What to look for, for the message where nothing is there.
        ambiguous: Class folders that may be there and have no certain class.
    """

    title: str
    folders: Mapping[str, str]
    is_set: Callable[[Path], bool]
    wanted: str
    ambiguous: Collection[str] = field(default=())


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A tile as found: its file, the set it lies in and its class."""

    path: Path
    folder: Path
    class_id: int


def find(root: Path, layout: Layout, *, complex_stroma: str = "leave-out") -> list[Tile]:
    """All tiles of a set, no pixel read; the ambiguous ones are left out and counted, or are stroma.

    Raises:
        ConfigError: If `complex_stroma` is neither "leave-out" nor "stroma".
        MissingSourceError: If there is no class folder in a folder of the set.
        DataError: If one is missing or empty.
    """
    if complex_stroma not in COMPLEX_CHOICES:
        raise ConfigError(f"no complex_stroma {complex_stroma!r}; choose from {', '.join(COMPLEX_CHOICES)}")
    folders = _files.scan(root)
    meanings = {_files.plain(name): CLASSES.index(meaning) for name, meaning in layout.folders.items()}
    ambiguous = {_files.plain(name): CLASSES.index("stroma") for name in layout.ambiguous}
    known = meanings | ambiguous
    inside = [folder for folder in folders if _files.plain(folder.name) in known and layout.is_set(folder.parent)]
    if not inside:
        raise _files.missing(root, layout.title, layout.wanted)
    _require_all(inside, layout)
    tiles = [
        Tile(path=path, folder=folder.parent, class_id=known[_files.plain(folder.name)])
        for folder in inside
        for path in _images(folder, folders)
    ]
    if complex_stroma == "stroma":
        return tiles
    kept = [tile for tile in tiles if _files.plain(tile.path.parent.name) in meanings]
    if left := len(tiles) - len(kept):
        logger.info("%s: %s tiles of complex stroma left out; complex_stroma=stroma keeps them", layout.title, left)
    return kept


def _images(folder: Path, folders: _files.Folders) -> list[Path]:
    paths = _files.select({folder: folders[folder]}, r".+\.(tiff?|png|jpe?g)")
    if not paths:
        raise DataError(f"{folder}: a class without image; unpack the whole data set")
    return paths


def _require_all(inside: Sequence[Path], layout: Layout) -> None:
    """Refuse a set that lacks a class: a network would never learn it, and nobody would notice."""
    for parent in sorted({folder.parent for folder in inside}):
        there = {_files.plain(folder.name) for folder in inside if folder.parent == parent}
        if lacking := [name for name in layout.folders if _files.plain(name) not in there]:
            raise DataError(
                f"{parent}: no folder {', '.join(lacking)}; {layout.title} has one per class; unpack the whole data set"
            )


def make_entry(tile: Tile, key: str, patient: str | None = None) -> Entry:
    """The entry of a tile; without a patient it is its own."""
    key = _files.make_key(key)
    return Entry(key=key, patient=patient or key, files={"image": tile.path}, options={"class_id": tile.class_id})


def read(entry: Entry, task: Task) -> Sample:
    """One tile, its class everywhere.

    Raises:
        DataError: If the file is damaged.
    """
    image = _files.read_image(entry.files["image"])
    semantic_map = np.full(image.shape[:2], entry.options["class_id"], np.uint8)
    return _files.make_sample(entry, image, semantic_map, num_classes=task.num_classes, mpp=task.mpp)


def write_tile(path: Path, folder: str, size_px: int, rng: np.random.Generator) -> None:
    """Draw a tile of what a class folder of that name holds."""
    meaning = {**KATHER5K, **NCT_CRC_HE, **CRC_TP, **dict.fromkeys(COMPLEX_STROMA, "complex_stroma")}[folder]
    _files.write_image(path, _tissue_drawing.draw_tissue(meaning, size_px, rng))
