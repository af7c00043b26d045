"""Nuclei by type in a lab's own images, for Cerberus (Graham et al. 2023); the types are those of Lizard.

The layout is told in `_native.py`.
"""

from histoseg.sources import _native, lizard
from histoseg.types import Task

TASK = Task(
    name="cerberus_nuclei",
    title="Cerberus nuclei",
    classes=lizard.TASK.classes,
    mpp=_native.MPP,
    licence=_native.LICENCE,
    kind="instance",
    structure="nuclei",
)

entries = _native.finder_of(TASK)
read = _native.reader_of(TASK)
write_demo = _native.demo_of("nuclei", lambda mucosa: mucosa.nuclei)
