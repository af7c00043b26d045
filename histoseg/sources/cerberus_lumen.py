"""Lumina of glands in a lab's own images, for Cerberus (Graham et al. 2023).

The layout is told in `_native.py`.
"""

from histoseg.sources import _native
from histoseg.types import Task

TASK = Task(
    name="cerberus_lumen",
    title="Cerberus lumina",
    classes=("background", "lumen"),
    mpp=_native.MPP,
    licence=_native.LICENCE,
    kind="instance",
    structure="lumen",
)

entries = _native.finder_of(TASK)
read = _native.reader_of(TASK)
write_demo = _native.demo_of("lumen", lambda mucosa: mucosa.lumina)
