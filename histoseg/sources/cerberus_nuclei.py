"""Nuclei by type in a lab's own images, for Cerberus (Graham et al. 2023); the types are those of Lizard.

The layout is told in `_native.py`.
"""

from pathlib import Path

import numpy as np

from histoseg.sources import _native, lizard
from histoseg.types import Entry, Sample, Task

TASK = Task(
    name="cerberus_nuclei",
    title="Cerberus nuclei",
    classes=lizard.TASK.classes,
    mpp=_native.MPP,
    licence=_native.LICENCE,
    kind="instance",
    structure="nuclei",
)


def entries(root: Path) -> list[Entry]:
    """The images below `cerberus_native/nuclei`, pairs and table checked, no pixel read.

    Raises:
        MissingSourceError: If there is neither image nor label.
        DataError: If a pair is incomplete, or the table lacks an image or contradicts itself.
    """
    return _native.entries(root, TASK)


def read(entry: Entry) -> Sample:
    """One image with its nuclei.

    Raises:
        DataError: If a file is damaged, its parts contradict each other, or the two differ in size.
    """
    return _native.read(entry, TASK)


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write nine made-up images in three folds and two external ones."""
    _native.write_demo(root, rng, "nuclei", lambda mucosa: mucosa.nuclei)
