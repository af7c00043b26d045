"""Outlines of the objects in one square of a slide, as bytes that a browser reads as typed arrays.

    uint32  numbers of objects, rings, points; 0
    int32   id of each object
    uint32  of each ring, the object it belongs to
    uint32  where each ring begins among the points, with the end of the last
    int16   x and y of each point from the square's upper left corner, in 1/UNITS of its side
    uint16  kind of each object

All little-endian. An object that reaches into several squares is in each of them.
"""

from collections.abc import Iterable

import numpy as np

from histoseg.slides.objects import ObjectFile
from histoseg.viewer.census import TILE_PX
from histoseg.viewer.layers import Kind, number_kinds
from histoseg.viewer.polygons import coarsened, read_rings

UNITS = 8192  # Four squares on each side fit into int16; a quarter of a base pixel for squares of 2048.
BAND = 3  # Levels that share a square of outlines: the finest of them says how exact these are.
STROKE_PX = 4  # On the screen: so far outside of a square an outline may lie that is seen within
COLUMNS = ["id", "structure", "class", "geometry"]


def data_level(level: int, outline_level: int) -> int:
    """The level of the squares that hold the outlines to draw at a level; as in web/grid.js."""
    return min(BAND * (max(level, 0) // BAND) + BAND - 1, outline_level)


def pack_objects(
    objects: ObjectFile, kinds: tuple[Kind, ...], structure: str, level: int, square: tuple[int, int]
) -> bytes:
    """The objects of one structure in the square (column, row) of a data level."""
    side = TILE_PX << level
    left, top = (place * side for place in square)
    margin = STROKE_PX << level
    box = (left - margin, top - margin, left + side + margin, top + side + margin)
    table = objects.read(box=box, structures=[structure], columns=COLUMNS)
    rings = read_rings(table.column("geometry"))
    finest = BAND * (level // BAND)
    if finest:
        rings = coarsened(rings, (1 << finest) / 2)
    points = np.round((rings.points - (left, top)) * (UNITS / side)).clip(-32768, 32767)
    return _joined(
        [
            np.array([len(table), len(rings.owners), len(points), 0], "<u4"),
            table.column("id").to_numpy().astype("<i4"),
            rings.owners.astype("<u4"),
            rings.starts.astype("<u4"),
            points.astype("<i2"),
            number_kinds(table, kinds).astype("<u2"),
        ]
    )


def _joined(arrays: Iterable[np.ndarray]) -> bytes:
    return b"".join(array.tobytes() for array in arrays)
