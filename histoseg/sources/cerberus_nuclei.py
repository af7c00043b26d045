"""Nuclei by type in a lab's own images, for Cerberus (Graham et al. 2023); the types are those of Lizard.

`_cerberus_native.py` describes the layout.
"""

from histoseg.sources import _cerberus_native, lizard

TASK, entries, read = _cerberus_native.source("nuclei", "Cerberus nuclei", lizard.TASK.classes)
