"""Kather 5K: tiles of one tissue each from colorectal cancer, eight classes (Kather et al. 2016)."""

import re
from pathlib import Path

from histoseg.files.folders import require_unique
from histoseg.sources import _tissue
from histoseg.types import Entry, Sample, Task

TASK = Task(
    name="kather5k",
    title="Kather 5K",
    classes=_tissue.CLASSES,
    mpp=0.495,  # Kather et al. 2016, Methods.
    licence="CC BY 4.0",
    kind="patch",
    structure="tissue",
    year=2016,
)

LAYOUT = _tissue.Layout(
    title=TASK.title,
    folders=_tissue.KATHER5K,
    is_set=lambda _: True,  # No other data set has numbered class folders.
    wanted="Kather_texture_2016_image_tiles_5000 with 01_TUMOR to 08_EMPTY",
    ambiguous=("03_COMPLEX",),
)
# 1A11_CRC-Prim-HE-07_022.tif_Row_601_Col_151.tif is of slide 07; `_022`, or letters as in `10c`, is the region.
SLIDE = re.compile(r"CRC-Prim-HE-\d+")


def entries(root: Path, *, complex_stroma: str = "leave-out") -> list[Entry]:
    """The tiles with a class of Cerberus, no pixel read. The patient is the slide in the name, else the tile itself.

    complex_stroma: Whether tiles of 03_COMPLEX are left out and counted ("leave-out"), or are "stroma".
    """
    tiles = _tissue.find(root, LAYOUT, complex_stroma=complex_stroma)
    return require_unique(
        [_tissue.make_entry(path, class_id, path.stem, _slide(path)) for path, class_id in tiles.items()]
    )


def _slide(path: Path) -> str | None:
    named = SLIDE.search(path.name)
    return named[0] if named else None


def read(entry: Entry) -> Sample:
    """One tile; every pixel has its class."""
    return _tissue.read(entry, TASK)
