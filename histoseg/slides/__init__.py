"""Whole slides: read by resolution, divided into regions, and put together again from what was found in each.

`reader.py` opens a slide, `tissue.py` finds where tissue is, `grid.py` divides it, `settle.py` takes from a region the
objects that no neighbour can change, `stitch.py` makes one of each object that several regions hold a part of, and
`objects.py` is how objects are stored.
"""
