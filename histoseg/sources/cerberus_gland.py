"""Glands in a lab's own images, for Cerberus: their epithelium and that of the surface (Graham et al. 2023).

The layout is told in `_native.py`.
"""

from histoseg.sources import _native
from histoseg.types import Task

TASK = Task(
    name="cerberus_gland",
    title="Cerberus glands",
    classes=("background", "gland", "surface_epithelium"),
    mpp=_native.MPP,
    licence=_native.LICENCE,
    kind="instance",
    structure="gland",
)

entries = _native.finder_of(TASK)
read = _native.reader_of(TASK)
write_demo = _native.demo_of("gland", lambda mucosa: mucosa.glands)
