"""Glands in a lab's own images, for Cerberus: their epithelium and that of the surface (Graham et al. 2023).

`_cerberus_native.py` describes the layout.
"""

from histoseg.sources import _cerberus_native

TASK, entries, read = _cerberus_native.source("gland", "Cerberus glands", ("background", "gland", "surface_epithelium"))
