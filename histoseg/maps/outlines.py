"""Objects of an instance map as polygons along the edges of their pixels, so that a polygon's area is its object's.

A polygon is a piece of an object whose pixels are joined by their sides. Pieces that only touch by a corner are
polygons of their own. Where two pixels of one piece touch by a corner, the ring turns so that no ring meets itself: the
two background pixels there belong to different holes, or to a hole and to the outside. So every polygon is valid by
OpenGIS Simple Features (OGC 06-103r4, 6.1.11.1): simple rings, which touch in single points, around a connected area.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Int32, Int64

from histoseg.types import InstanceMap

Corners = Int64[np.ndarray, "_ 2"]  # A ring's corners as x, y; the last is joined to the first
Polygon = tuple[Corners, ...]  # The outer ring of a piece, then those of its holes

EAST, SOUTH, WEST, NORTH = range(4)
# From the first corner of a pixel's upper, right, lower and left side, as x and y from its upper left corner: clockwise
# as one looks at it, so that the area is positive where y counts downward. RFC 7946 wants outer rings so.
STARTS = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])


@dataclass(frozen=True, kw_only=True)
class _Sides:
    """Sides of pixels along which pieces end, each with the piece to its right."""

    pixels: Int64[np.ndarray, " E"]  # Indices of pixels in the flattened map
    directions: Int64[np.ndarray, " E"]
    following: Int64[np.ndarray, " E"]  # The next side of the same ring


def trace_polygons(instance_map: InstanceMap) -> dict[int, list[Polygon]]:
    """The polygons of each object, by ascending id; corners are in pixels from the upper left corner of the map."""
    from skimage.measure import label

    padded = np.pad(instance_map, 1)
    pieces = label(padded, background=0, connectivity=1).astype(np.int32)  # type: ignore[no-untyped-call]  # it has no types
    found: dict[int, dict[int, list[Corners]]] = {}  # Rings of each piece of each object, the outer one first
    for pixel, ring in _rings(_find_sides(pieces), padded.shape[1]):
        rings = found.setdefault(int(padded.flat[pixel]), {}).setdefault(int(pieces.flat[pixel]), [])
        rings.insert(0 if _area(ring) > 0 else len(rings), ring)
    return {number: [tuple(rings) for rings in found[number].values()] for number in sorted(found)}


def _find_sides(pieces: Int32[np.ndarray, "H W"]) -> _Sides:
    """All sides between a piece and what is not of it; the map's border is background."""
    width = pieces.shape[1]
    across = {EAST: -width, SOUTH: 1, WEST: width, NORTH: -1}  # From a pixel to the one beyond its side
    ahead = {EAST: 1, SOUTH: width, WEST: -1, NORTH: -width}
    flat = pieces.ravel()
    inside = np.flatnonzero(flat)
    pixels = [inside[flat[inside] != flat[inside + across[direction]]] for direction in range(4)]
    firsts = np.cumsum([0, *map(len, pixels)])
    following = []
    for direction, here in enumerate(pixels):
        # At its end, a side turns left to the pixel beyond both, goes on along the next pixel, or turns right.
        beyond, beside = here + ahead[direction] + across[direction], here + ahead[direction]
        turns_left = flat[beyond] == flat[here]
        goes_on = ~turns_left & (flat[beside] == flat[here])
        target = np.where(turns_left, beyond, np.where(goes_on, beside, here))
        heading = np.where(turns_left, direction - 1, np.where(goes_on, direction, direction + 1)) % 4
        found = np.empty(len(here), np.int64)
        for other in range(4):
            chosen = heading == other
            found[chosen] = firsts[other] + np.searchsorted(pixels[other], target[chosen])
        following.append(found)
    directions = np.repeat(np.arange(4), [len(each) for each in pixels])
    return _Sides(pixels=np.concatenate(pixels), directions=directions, following=np.concatenate(following))


def _rings(sides: _Sides, width: int) -> list[tuple[int, Corners]]:
    """Each ring with one of its pixels; of its sides only those that begin at a corner are kept."""
    order, ends = _cycles(sides.following.tolist())
    turned = np.empty(len(order), bool)
    turned[sides.following] = sides.directions[sides.following] != sides.directions
    rows, columns = np.divmod(sides.pixels, width)
    starts = np.stack([columns, rows], axis=1) - 1 + STARTS[sides.directions]  # One less for the padding
    kept = order[turned[order]]
    corners = starts[kept]
    counts = np.concatenate([[0], np.cumsum(turned[order])])[ends]
    return [(int(sides.pixels[kept[first]]), corners[first:last]) for first, last in pairwise(counts.tolist())]


def _cycles(following: list[int]) -> tuple[Int64[np.ndarray, " E"], Int64[np.ndarray, " N"]]:
    """The members of all cycles one after another, and where each begins, with the end of the last."""
    order, ends, seen = list[int](), [0], bytearray(len(following))
    for first in range(len(following)):
        member = first
        while not seen[member]:
            seen[member] = 1
            order.append(member)
            member = following[member]
        if len(order) > ends[-1]:
            ends.append(len(order))
    return np.array(order, np.int64), np.array(ends)


def _area(ring: Corners) -> float:
    """Twice the area that a ring encloses; negative for that of a hole."""
    x, y = ring.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1))
