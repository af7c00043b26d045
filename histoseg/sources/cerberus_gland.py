"""Glands in a lab's own images, for Cerberus: their epithelium and that of the surface (Graham et al. 2023).

`_cerberus_native.py` describes the layout.
"""

from pathlib import Path

from histoseg.sources import _cerberus_native
from histoseg.types import Entry, Sample, Task

TASK = Task(
    name="cerberus_gland",
    title="Cerberus glands",
    classes=("background", "gland", "surface_epithelium"),
    mpp=_cerberus_native.MPP,
    licence=_cerberus_native.LICENCE,
    kind="instance",
    structure="gland",
)


def entries(root: Path) -> list[Entry]:
    """The images with annotated glands, pairs and table checked, no pixel read."""
    return _cerberus_native.find_entries(root, TASK)


def read(entry: Entry) -> Sample:
    """One image, its glands and the class of each."""
    return _cerberus_native.read_entry(entry, TASK)
