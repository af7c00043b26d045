"""Objects of an instance map as polygons along the edges of their pixels, so that a polygon's area is its object's.

A polygon is a piece of an object whose pixels are joined by their sides. Pieces that only touch by a corner are
polygons of their own. Where two pixels of one piece touch by a corner, the ring turns so that no ring meets itself: the
two background pixels there belong to different holes, or to a hole and to the outside. So every polygon is valid by
OpenGIS Simple Features (OGC 06-103r4, 6.1.11.1): simple rings, which touch in single points, around a connected area.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int32, Int64
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, depth_first_order

from histoseg.types import InstanceMap

Corners = Int64[np.ndarray, "_ 2"]  # A ring's corners as x, y; the last is joined to the first
Polygon = tuple[Corners, ...]  # The outer ring of a piece, then those of its holes

EAST, SOUTH, WEST, NORTH = range(4)
# From the first corner of a pixel's upper, right, lower and left side, as x and y from its upper left corner: clockwise
# as one looks at it, so that the area is positive where y counts downward. RFC 7946 wants outer rings so.
STARTS = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])


@dataclass(frozen=True, kw_only=True)
class Rings:
    """The rings of all polygons: by ascending id, then piece by piece, the outer ring of each before its holes."""

    corners: Int64[np.ndarray, "V 2"]  # Of one ring after another, as x, y from the upper left corner of the map
    starts: Int64[np.ndarray, " S"]  # Where each ring begins in `corners`, and the end of the last: one more than rings
    objects: Int32[np.ndarray, " R"]  # The id of each ring's object
    is_outer: Bool[np.ndarray, " R"]


@dataclass(frozen=True, kw_only=True)
class _Sides:
    """Sides of pixels along which pieces end, each with the piece to its right."""

    pixels: Int64[np.ndarray, " E"]  # Indices of pixels in the flattened map
    directions: Int64[np.ndarray, " E"]
    following: Int64[np.ndarray, " E"]  # The next side of the same ring


def trace_polygons(instance_map: InstanceMap) -> dict[int, list[Polygon]]:
    """The polygons of each object, by ascending id; corners are in pixels from the upper left corner of the map."""
    rings = trace_rings(instance_map)
    each = np.split(rings.corners, rings.starts[1:-1]) if rings.objects.size else []
    found: dict[int, list[Polygon]] = {}
    for number, is_outer, ring in zip(rings.objects.tolist(), rings.is_outer.tolist(), each, strict=True):
        pieces = found.setdefault(number, [])
        if is_outer:
            pieces.append((ring,))
        else:
            pieces[-1] += (ring,)
    return found


def trace_rings(instance_map: InstanceMap) -> Rings:
    """The same polygons as arrays, which is fast for many objects."""
    from skimage.measure import label

    padded = np.pad(instance_map, 1)
    pieces = label(padded, background=0, connectivity=1).astype(np.int32)  # type: ignore[no-untyped-call]  # it has no types
    sides = _find_sides(pieces)
    order, firsts = _cycles(sides.following)
    pixels = sides.pixels[order[firsts[:-1]]]
    corners, starts = _corners(sides, order, firsts, padded.shape[1])
    objects, is_outer = padded.ravel()[pixels], _areas(corners, starts) > 0
    sequence = np.lexsort([~is_outer, pieces.ravel()[pixels], objects])
    counts = np.diff(starts)[sequence]
    moved = np.concatenate([[0], np.cumsum(counts)])
    taken = np.repeat(starts[:-1][sequence] - moved[:-1], counts) + np.arange(moved[-1])
    return Rings(corners=corners[taken], starts=moved, objects=objects[sequence], is_outer=is_outer[sequence])


def _find_sides(pieces: Int32[np.ndarray, "H W"]) -> _Sides:
    """All sides between a piece and what is not of it; the map's border is background."""
    width = pieces.shape[1]
    across = {EAST: -width, SOUTH: 1, WEST: width, NORTH: -1}  # From a pixel to the one beyond its side
    ahead = {EAST: 1, SOUTH: width, WEST: -1, NORTH: -width}
    flat = pieces.ravel()
    inner = slice(width, flat.size - width)  # The first row and the last are background.
    pixels = [
        np.flatnonzero((flat[inner] != flat[width + step : flat.size - width + step]) & (flat[inner] > 0)) + width
        for step in across.values()
    ]
    targets, headings = [], []
    for direction, here in enumerate(pixels):
        # At its end, a side turns left to the pixel beyond both, goes on along the next pixel, or turns right.
        beyond, beside, piece = here + ahead[direction] + across[direction], here + ahead[direction], flat[here]
        turns_left = flat[beyond] == piece
        goes_on = ~turns_left & (flat[beside] == piece)
        targets.append(np.where(turns_left, beyond, np.where(goes_on, beside, here)))
        headings.append(np.where(turns_left, direction - 1, np.where(goes_on, direction, direction + 1)) % 4)
    target, heading = np.concatenate(targets), np.concatenate(headings)
    return _Sides(
        pixels=np.concatenate(pixels),
        directions=np.repeat(np.arange(4), [len(each) for each in pixels]),
        following=_look_up(pixels, target, heading, flat.size),
    )


def _look_up(
    pixels: list[Int64[np.ndarray, " _"]], target: Int64[np.ndarray, " E"], heading: Int64[np.ndarray, " E"], size: int
) -> Int64[np.ndarray, " E"]:
    """Which side has that pixel and that direction, for each of them."""
    found, first, number = np.empty(len(target), np.int64), 0, np.empty(size, np.int32)
    for direction, here in enumerate(pixels):
        number[here] = np.arange(first, first + len(here))
        chosen = heading == direction
        found[chosen] = number[target[chosen]]
        first += len(here)
    return found


def _cycles(following: Int64[np.ndarray, " E"]) -> tuple[Int64[np.ndarray, " E"], Int64[np.ndarray, " S"]]:
    """The members of all cycles one after another, and where each begins, with the end of the last.

    Each begins with its lowest member, and they are in the order of these. To walk along them in compiled code, they
    are cut before those members and joined to one path, which SciPy's search follows.
    """
    count = len(following)
    if not count:
        return np.zeros(0, np.int64), np.zeros(1, np.int64)

    num_cycles, cycle = connected_components(_graph(following), directed=True, connection="strong")
    lowest = np.empty(num_cycles, np.int64)
    lowest[cycle[::-1]] = np.arange(count)[::-1]  # Of several values for one place, the last stays.
    lengths = np.bincount(cycle)[np.argsort(lowest)]
    lowest.sort()
    before = np.empty(count, np.int64)
    before[following] = np.arange(count)
    path = following.copy()
    path[before[lowest]] = np.roll(lowest, -1)
    order = depth_first_order(_graph(path), lowest[0], directed=True, return_predecessors=False)
    return order.astype(np.int64), np.concatenate([[0], np.cumsum(lengths)])


def _graph(following: Int64[np.ndarray, " E"]) -> object:
    """A directed graph in which each node has one edge, to the node that follows it."""
    count = len(following)
    edges = np.ones(count), following.astype(np.int32), np.arange(count + 1, dtype=np.int32)
    return csr_array(edges, (count, count))


def _corners(
    sides: _Sides, order: Int64[np.ndarray, " E"], firsts: Int64[np.ndarray, " S"], width: int
) -> tuple[Int64[np.ndarray, "V 2"], Int64[np.ndarray, " S"]]:
    """The starts of those sides that begin at a corner, ring by ring, and where each ring begins."""
    turned = np.empty(len(order), bool)
    turned[sides.following] = sides.directions[sides.following] != sides.directions
    is_kept = turned[order]
    kept = order[is_kept]
    rows, columns = np.divmod(sides.pixels[kept], width)
    corners = np.stack([columns, rows], axis=1) - 1 + STARTS[sides.directions[kept]]  # One less for the padding
    return corners, np.concatenate([[0], np.cumsum(is_kept)])[firsts]


def _areas(corners: Int64[np.ndarray, "V 2"], starts: Int64[np.ndarray, " S"]) -> Int64[np.ndarray, " R"]:
    """Twice the area that each ring encloses; negative for that of a hole."""
    if not corners.size:
        return np.zeros(0, np.int64)
    following = np.arange(1, len(corners) + 1)
    following[starts[1:] - 1] = starts[:-1]
    (x, y), (next_x, next_y) = corners.T, corners[following].T
    areas: Int64[np.ndarray, " R"] = np.add.reduceat(x * next_y - y * next_x, starts[:-1])
    return areas
