"""Outlines of many objects as arrays of points: a loop in Python over thousands of polygons would be felt."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import shapely
from jaxtyping import Float64, Int64

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class Outlines:
    """Closed rings of many objects, without the repeated last point; outer rings and holes alike.

    Attributes:
        owners: Which object (its row) each ring belongs to, ascending.
        starts: Where each ring begins in `points`, with the end of the last.
        points: x and y in base pixels.
    """

    owners: Int64[np.ndarray, " R"]
    starts: Int64[np.ndarray, " S"]
    points: Float64[np.ndarray, "P 2"]


def read_outlines(geometry: "pa.ChunkedArray") -> Outlines:
    """The rings of a column of polygons and multipolygons in well-known binary."""
    shapes = shapely.from_wkb(geometry.to_numpy())
    polygons, object_of = shapely.get_parts(shapes, return_index=True)
    rings, polygon_of = shapely.get_rings(polygons, return_index=True)
    points, ring_of = shapely.get_coordinates(rings, return_index=True)
    is_last = np.diff(ring_of, append=-1) != 0
    lengths = np.bincount(ring_of, minlength=len(rings)) - 1
    return Outlines(
        owners=object_of[polygon_of].astype(np.int64),
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        points=points[~is_last],
    )


def coarsen(outlines: Outlines, step: float) -> Outlines:
    """The same with points on a grid of that step, and only those that differ from the one before in their ring."""
    rounded = np.round(outlines.points / step)
    kept = np.ones(len(rounded), bool)
    kept[1:] = (rounded[1:] != rounded[:-1]).any(axis=1)
    kept[outlines.starts[:-1][np.diff(outlines.starts) > 0]] = True
    ends = np.concatenate([[0], np.cumsum(kept)])
    return Outlines(owners=outlines.owners, starts=ends[outlines.starts], points=rounded[kept] * step)
