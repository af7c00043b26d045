"""Outlines of the objects in one square of a slide, as bytes that a browser reads as typed arrays.

    uint32  numbers of objects, rings, points; 0
    int32   id of each object
    uint32  of each ring, the object it belongs to
    uint32  where each ring begins among the points, with the end of the last
    int16   x and y of each point from the square's upper left corner, in 1/UNITS of its side
    uint16  kind of each object

All little-endian. An object that reaches into several squares is in each of them.
"""

from typing import TYPE_CHECKING

import numpy as np

from histoseg.viewer.census import TILE_PX
from histoseg.viewer.layers import Kind, number_kinds
from histoseg.viewer.outlines import coarsen, read_outlines

if TYPE_CHECKING:
    import pyarrow as pa

UNITS = 8192  # Four squares on each side fit into int16; a quarter of a base pixel for squares of 2048.
BAND = 3  # Levels that share a square of outlines: the finest of them says how exact these are.
STROKE_PX = 4  # On the screen: so far outside of a square an outline may lie that is seen within
COLUMNS = ["id", "structure", "class", "geometry"]


def data_level(level: int, outline_level: int) -> int:
    """The level of the squares that hold the outlines to draw at a level; as in web/grid.js."""
    return min(BAND * (max(level, 0) // BAND) + BAND - 1, outline_level)


def box_of(level: int, square: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the square (column, row) of a data level, with what is stroked over its edge."""
    side, margin = TILE_PX << level, STROKE_PX << level
    left, top = (place * side for place in square)
    return left - margin, top - margin, left + side + margin, top + side + margin


def pack_objects(table: "pa.Table", kinds: tuple[Kind, ...], level: int, square: tuple[int, int]) -> bytes:
    """Objects, as the columns in COLUMNS, in the square (column, row) of a data level."""
    outlines = read_outlines(table.column("geometry"))
    if finest := BAND * (level // BAND):
        outlines = coarsen(outlines, (1 << finest) / 2)
    side = TILE_PX << level
    corner = np.array(square) * side
    points = np.round((outlines.points - corner) * (UNITS / side)).clip(-32768, 32767)
    arrays = [
        np.array([len(table), len(outlines.owners), len(points), 0], "<u4"),
        table.column("id").to_numpy().astype("<i4"),
        outlines.owners.astype("<u4"),
        outlines.starts.astype("<u4"),
        points.astype("<i2"),
        number_kinds(table, kinds).astype("<u2"),
    ]
    return b"".join(array.tobytes() for array in arrays)
