"""Polygons in the form that databases and GeoParquet store: well-known binary (OGC 06-103r4, 8.2), all at once."""

import struct
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from histoseg.maps.outlines import Rings

POLYGON, MULTIPOLYGON = 3, 6
HEADER = np.dtype([("order", "u1"), ("kind", "<u4"), ("count", "<u4")])  # 9 bytes, packed
HEADER_FORMAT, COUNT_FORMAT = struct.Struct("<BII"), struct.Struct("<I")
LITTLE_ENDIAN = 1
POINT_BYTES = 16
POINT = np.dtype(f"V{POINT_BYTES}")
Ring = Float64[np.ndarray, "_ 2"]


@dataclass(frozen=True, kw_only=True)
class Geometries:
    """Geometries one after another, as Arrow holds binary values."""

    data: UInt8[np.ndarray, " B"]
    offsets: Int64[np.ndarray, " S"]  # Where each begins, and the end of the last


def encode(rings: Rings, corners: Float64[np.ndarray, "V 2"]) -> Geometries:
    """A Polygon for each object of one piece, a MultiPolygon for others, in the order of their rings.

    Args:
        rings: Which corners make which object.
        corners: Where the corners of these rings are, in any unit.
    """
    num_rings = len(rings.objects)
    if not num_rings:
        return Geometries(data=np.zeros(0, np.uint8), offsets=np.zeros(1, np.int64))
    counts = np.diff(rings.starts) + 1  # A ring ends with its first corner again.
    outer = np.flatnonzero(rings.is_outer)
    first_of_object = np.flatnonzero(np.diff(rings.objects, prepend=rings.objects[0] - 1))
    pieces = np.diff(np.searchsorted(outer, first_of_object), append=len(outer))
    is_multi = pieces > 1
    # Before a ring stand its number of corners, before an outer ring the polygon, before that perhaps the whole.
    extra = np.zeros(num_rings, np.int64)
    extra[outer] += HEADER.itemsize
    extra[first_of_object] += HEADER.itemsize * is_multi
    ends = np.cumsum(extra + 4 + counts * POINT_BYTES)
    points = ends - counts * POINT_BYTES
    data = np.empty(ends[-1], np.uint8)
    _put(data, points - 4, counts.astype("<u4"))
    rings_of_piece = np.diff(outer, append=num_rings)
    _put(data, points[outer] - 4 - HEADER.itemsize, _headers(POLYGON, rings_of_piece))
    starts = points[first_of_object] - 4 - HEADER.itemsize * (1 + is_multi)
    _put(data, starts[is_multi], _headers(MULTIPOLYGON, pieces[is_multi]))
    within = np.arange(len(corners)) - np.repeat(rings.starts[:-1], counts - 1)
    as_points = np.ascontiguousarray(corners, "<f8").view(POINT)[:, 0]
    _put(data, np.repeat(points, counts - 1) + POINT_BYTES * within, as_points)
    _put(data, ends - POINT_BYTES, as_points[rings.starts[:-1]])
    return Geometries(data=data, offsets=np.concatenate([starts, ends[-1:]]))


def _headers(kind: int, counts: Int64[np.ndarray, " N"]) -> np.ndarray:
    headers = np.empty(len(counts), HEADER)
    headers["order"], headers["kind"], headers["count"] = LITTLE_ENDIAN, kind, counts
    return headers


def _put(data: UInt8[np.ndarray, " B"], places: Int64[np.ndarray, " N"], values: np.ndarray) -> None:
    """Write values of some bytes each to places that need not be multiples of these."""
    size = values.dtype.itemsize
    if places.size:
        anywhere = np.ndarray(len(data) - size + 1, f"V{size}", data.data, strides=(1,))
        anywhere[places] = values.view(f"V{size}")


def decode(geometry: bytes) -> list[list[Ring]]:
    """The rings of each polygon, the outer one first; the last corner of a ring is its first again."""
    kind, count = HEADER_FORMAT.unpack_from(geometry)[1:]
    polygons, place = list[list[Ring]](), HEADER.itemsize * (kind == MULTIPOLYGON)
    for _ in range(count if kind == MULTIPOLYGON else 1):
        num_rings = HEADER_FORMAT.unpack_from(geometry, place)[2]
        place += HEADER.itemsize
        rings = []
        for _ in range(num_rings):
            (num_corners,) = COUNT_FORMAT.unpack_from(geometry, place)
            rings.append(np.frombuffer(geometry, "<f8", 2 * num_corners, place + 4).reshape(-1, 2))
            place += 4 + POINT_BYTES * num_corners
        polygons.append(rings)
    return polygons
