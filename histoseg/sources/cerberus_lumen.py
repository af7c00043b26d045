"""Lumina of glands in a lab's own images, for Cerberus (Graham et al. 2023).

`_cerberus_native.py` describes the layout.
"""

from pathlib import Path

from histoseg.sources import _cerberus_native
from histoseg.types import Entry, Sample, Task

TASK = Task(
    name="cerberus_lumen",
    title="Cerberus lumina",
    classes=("background", "lumen"),
    mpp=_cerberus_native.MPP,
    licence=_cerberus_native.LICENCE,
    kind="instance",
    structure="lumen",
)


def entries(root: Path) -> list[Entry]:
    """The images with annotated lumina, pairs and table checked, no pixel read."""
    return _cerberus_native.find_entries(root, TASK)


def read(entry: Entry) -> Sample:
    """One image, its lumina and the class of each."""
    return _cerberus_native.read_entry(entry, TASK)
