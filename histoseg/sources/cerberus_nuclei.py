"""Nuclei by type in a lab's own images, for Cerberus (Graham et al. 2023); the types are those of Lizard.

`_cerberus_native.py` describes the layout.
"""

from pathlib import Path

from histoseg.sources import _cerberus_native, lizard
from histoseg.types import Entry, Sample, Task

TASK = Task(
    name="cerberus_nuclei",
    title="Cerberus nuclei",
    classes=lizard.TASK.classes,
    mpp=_cerberus_native.MPP,
    licence=_cerberus_native.LICENCE,
    kind="instance",
    structure="nuclei",
)


def entries(root: Path) -> list[Entry]:
    """The images with annotated nuclei, pairs and table checked, no pixel read."""
    return _cerberus_native.find_entries(root, TASK)


def read(entry: Entry) -> Sample:
    """One image, its nuclei and the class of each."""
    return _cerberus_native.read_entry(entry, TASK)
