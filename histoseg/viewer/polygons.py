"""Outlines out of WKB, all objects at once: a loop in Python over half a million polygons would take a minute."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8

from histoseg.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

POLYGON, MULTI_POLYGON = 3, 6  # OGC 06-103r4, Table 8
NUM_BYTES, NUM_TYPE, NUM_COUNT, NUM_POINT = 1, 4, 4, 16  # Byte order, type, a count, x and y as float64


@dataclass(frozen=True, kw_only=True)
class Rings:
    """Closed rings of many objects, without the repeated last point; outer rings and holes alike.

    Attributes:
        owners: Which object (its row) each ring belongs to, ascending.
        starts: Where each ring begins in `points`, with the end of the last.
        points: x and y in base pixels.
    """

    owners: Int64[np.ndarray, " R"]
    starts: Int64[np.ndarray, " R+1"]
    points: Float64[np.ndarray, "P 2"]


def read_rings(geometry: "pa.ChunkedArray") -> Rings:
    """The rings of a column of WKB polygons and multipolygons.

    Raises:
        DataError: If a geometry is neither, or is not little-endian.
    """
    body, offsets = _bytes_of(geometry)
    rows, firsts = _polygons(body, offsets)
    owners, begins, lengths = _find_rings(body, rows, firsts)
    order = np.lexsort((begins, owners))  # As they stand in the file
    return _gather(body, owners[order], begins[order], lengths[order] - 1)


def _bytes_of(geometry: "pa.ChunkedArray") -> tuple[UInt8[np.ndarray, " B"], Int64[np.ndarray, " N"]]:
    """All bytes one after another, and where each geometry begins."""
    chunks = [chunk for chunk in geometry.chunks if len(chunk)]
    bodies, begins, before = [], [], 0
    for chunk in chunks:
        _, offsets, data = chunk.buffers()
        wide = 8 if "large" in str(chunk.type) else 4
        all_offsets = np.frombuffer(offsets, np.int64 if wide == 8 else np.int32)
        own = all_offsets[chunk.offset : chunk.offset + len(chunk) + 1].astype(np.int64)
        bodies.append(np.frombuffer(data, np.uint8)[own[0] : own[-1]])
        begins.append(own[:-1] - own[0] + before)
        before += int(own[-1] - own[0])
    if not chunks:
        return np.zeros(0, np.uint8), np.zeros(0, np.int64)
    return np.concatenate(bodies), np.concatenate(begins)


def _polygons(
    body: UInt8[np.ndarray, " B"], offsets: Int64[np.ndarray, " N"]
) -> tuple[Int64[np.ndarray, " M"], Int64[np.ndarray, " M"]]:
    """Every single polygon: its object and where it begins; those of a multipolygon stand one after another."""
    kinds = _counts_at(body, offsets + NUM_BYTES)
    if offsets.size and not (np.isin(kinds, (POLYGON, MULTI_POLYGON)).all() and (body[offsets] == 1).all()):
        raise DataError("a geometry is not a little-endian WKB Polygon or MultiPolygon; segment the slide again")
    rows = np.arange(len(offsets))
    many = kinds == MULTI_POLYGON
    found_rows, found_firsts = [rows[~many]], [offsets[~many]]
    left, left_rows = _counts_at(body, offsets[many] + NUM_BYTES + NUM_TYPE), rows[many]
    at = offsets[many] + NUM_BYTES + NUM_TYPE + NUM_COUNT
    while left.size:
        found_rows.append(left_rows)
        found_firsts.append(at)
        at = _end_of_polygons(body, at)
        goes_on = left > 1
        left, left_rows, at = left[goes_on] - 1, left_rows[goes_on], at[goes_on]
    return np.concatenate(found_rows), np.concatenate(found_firsts)


def _end_of_polygons(body: UInt8[np.ndarray, " B"], firsts: Int64[np.ndarray, " M"]) -> Int64[np.ndarray, " M"]:
    ends = firsts + NUM_BYTES + NUM_TYPE + NUM_COUNT
    which, begins, lengths = _find_rings(body, np.arange(len(firsts)), firsts)
    np.maximum.at(ends, which, begins + lengths * NUM_POINT)
    return ends


def _find_rings(
    body: UInt8[np.ndarray, " B"], rows: Int64[np.ndarray, " M"], firsts: Int64[np.ndarray, " M"]
) -> tuple[Int64[np.ndarray, " R"], Int64[np.ndarray, " R"], Int64[np.ndarray, " R"]]:
    """Of each ring its row, where its points begin, and how many there are; one step a ring of the fullest polygon."""
    left = _counts_at(body, firsts + NUM_BYTES + NUM_TYPE)
    at = firsts + NUM_BYTES + NUM_TYPE + NUM_COUNT
    owners, begins, lengths = [rows[:0]], [at[:0]], [left[:0]]
    rows, at, left = (values[left > 0] for values in (rows, at, left))
    while left.size:
        count = _counts_at(body, at)
        owners.append(rows)
        begins.append(at + NUM_COUNT)
        lengths.append(count)
        at = at + NUM_COUNT + count * NUM_POINT
        rows, at, left = (values[left > 1] for values in (rows, at, left - 1 + (left <= 1)))
    return np.concatenate(owners), np.concatenate(begins), np.concatenate(lengths)


def _counts_at(body: UInt8[np.ndarray, " B"], places: Int64[np.ndarray, " M"]) -> Int64[np.ndarray, " M"]:
    return _values_at(body, places, "<u4").astype(np.int64)[:, 0]


def _values_at(body: UInt8[np.ndarray, " B"], places: Int64[np.ndarray, " M"], kind: str) -> np.ndarray:
    """Numbers at places that need not be aligned: one, or x and y if they are float64."""
    wide = NUM_POINT if kind == "<f8" else NUM_COUNT
    if not places.size:
        return np.zeros((0, wide // np.dtype(kind).itemsize), kind)
    return np.lib.stride_tricks.sliding_window_view(body, wide)[places].view(kind)


def _gather(
    body: UInt8[np.ndarray, " B"],
    owners: Int64[np.ndarray, " R"],
    begins: Int64[np.ndarray, " R"],
    lengths: Int64[np.ndarray, " R"],
) -> Rings:
    starts = np.concatenate([[0], np.cumsum(lengths)])
    within = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
    places = np.repeat(begins, lengths) + NUM_POINT * within
    return Rings(owners=owners, starts=starts, points=_values_at(body, places, "<f8"))


def coarsened(rings: Rings, step: float) -> Rings:
    """The same with points on a grid of that step, and only those that differ from the one before in their ring."""
    rounded = np.round(rings.points / step)
    kept = np.ones(len(rounded), bool)
    kept[1:] = (rounded[1:] != rounded[:-1]).any(axis=1)
    firsts = rings.starts[:-1][np.diff(rings.starts) > 0]
    kept[firsts] = True
    ends = np.concatenate([[0], np.cumsum(kept)])
    return Rings(owners=rings.owners, starts=ends[rings.starts], points=rounded[kept] * step)


def contain(rings: Rings, x: float, y: float, num_objects: int) -> Bool[np.ndarray, " N"]:
    """Which objects a point lies in: a ray from it to the right crosses their rings an odd number of times."""
    if not len(rings.points):
        return np.zeros(num_objects, bool)
    lengths = np.diff(rings.starts)
    following = np.arange(1, len(rings.points) + 1)
    following[rings.starts[1:][lengths > 0] - 1] = rings.starts[:-1][lengths > 0]
    one, other = rings.points, rings.points[following]
    spans = (one[:, 1] > y) != (other[:, 1] > y)
    rise = np.where(spans, other[:, 1] - one[:, 1], 1.0)
    is_crossed = spans & (x < one[:, 0] + (y - one[:, 1]) / rise * (other[:, 0] - one[:, 0]))
    crossings = np.bincount(np.repeat(rings.owners, lengths), is_crossed, num_objects)
    return crossings % 2 == 1
