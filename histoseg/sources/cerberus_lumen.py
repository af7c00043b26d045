"""Lumina of glands in a lab's own images, for Cerberus (Graham et al. 2023).

`_cerberus_native.py` describes the layout.
"""

from histoseg.sources import _cerberus_native

TASK, entries, read = _cerberus_native.source("lumen", "Cerberus lumina", ("background", "lumen"))
