"""Lumina of glands in a lab's own images, for Cerberus (Graham et al. 2023).

The layout is told in `_native.py`.
"""

from pathlib import Path

import numpy as np

from histoseg.sources import _native
from histoseg.types import Entry, Sample, Task

TASK = Task(
    name="cerberus_lumen",
    title="Cerberus lumina",
    classes=("background", "lumen"),
    mpp=_native.MPP,
    licence=_native.LICENCE,
    kind="instance",
    structure="lumen",
)


def entries(root: Path) -> list[Entry]:
    """The images below `cerberus_native/lumen`, pairs and table checked, no pixel read.

    Raises:
        MissingSourceError: If there is neither image nor label.
        DataError: If a pair is incomplete, or the table lacks an image or contradicts itself.
    """
    return _native.entries(root, TASK)


def read(entry: Entry) -> Sample:
    """One image with its lumina.

    Raises:
        DataError: If a file is damaged, its parts contradict each other, or the two differ in size.
    """
    return _native.read(entry, TASK)


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write nine made-up images in three folds and two external ones."""
    _native.write_demo(root, rng, "lumen", lambda mucosa: mucosa.lumina)
