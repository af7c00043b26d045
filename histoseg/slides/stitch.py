"""One object of each that several regions hold pieces of.

Pieces that are connected across borders are put together on a canvas of their own, and objects are made there as they
would be on the whole slide. Structures that others lie within come first.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from histoseg.maps.evidence import Evidence, Separator
from histoseg.maps.objects import renumber, within
from histoseg.slides.nearby import Nearby
from histoseg.slides.settle import FoundObjects, Piece, Settled, Solid, Strip, classify, dilate
from histoseg.structures import structures
from histoseg.types import InstanceMap

CELL_PX = 1024  # Groups that begin in a square of this size are made together, unless they are larger.
MOST_PX = 2**26  # Of a canvas, which takes up to 2 GB then: 4 mm by 4 mm of pieces that are all connected
# A larger group is made square by square. What lies further around than that is not seen, so of objects that are larger
# parts may be missing or found twice.
SQUARE_PX, AROUND_PX = 4096, 512
Box = tuple[int, int, int, int]  # Top, left, bottom, right


def stitch(left_over: Settled, separator: Separator, size_px: tuple[int, int]) -> Iterator[FoundObjects]:
    """The objects that the pieces of all regions form, group by group; `size_px` is the slide's height and width."""
    solids = {name: Nearby[Solid](()) for name in separator.structures}
    for solid in left_over.solids:
        solids[solid.structure].add(solid)
    for name in separator.structures:
        outer = structures()[name].within
        is_outer = any(structures()[other].within == name for other in separator.structures)
        settled = Nearby(solid for solid in left_over.solids if solid.structure == name)
        strips = Nearby(strip for strip in left_over.strips if strip.structure == name)
        mine = [piece for piece in left_over.pieces if piece.structure == name]
        for corner, evidence, own in _canvases(mine, strips, separator.reach_px(name), size_px):
            instance_map = _keep(separator.separate(name, evidence), own)
            instance_map = _drop_settled(instance_map, _paint_solids(settled, corner, instance_map.shape))
            if outer in solids:
                instance_map = within(instance_map, _paint_solids(solids[outer], corner, instance_map.shape))
            found = classify(name, corner, instance_map, evidence)
            if is_outer:
                solids[name].add(Solid(structure=name, top=corner[0], left=corner[1], mask=instance_map > 0))
            yield found


Canvas = tuple[tuple[int, int], Evidence, "tuple[slice, slice] | None"]  # With its top and left; see `_keep`


def _canvases(
    pieces: Sequence[Piece], strips: Nearby[Strip], reach_px: int, size_px: tuple[int, int]
) -> Iterator[Canvas]:
    """The evidence of each group of pieces; where a group is too large for memory, square by square."""
    for group in _gather(group_pieces(pieces, reach_px)):
        top, left, bottom, right = _grown(_bounds(group), reach_px + 1, size_px)
        if (bottom - top) * (right - left) <= MOST_PX:
            yield (top, left), _paint_all(group, strips, (top, left, bottom, right)), None
            continue
        nearby = Nearby(group)
        for row in range(top, bottom, SQUARE_PX):
            for column in range(left, right, SQUARE_PX):
                square = row, column, min(row + SQUARE_PX, bottom), min(column + SQUARE_PX, right)
                box = _grown(square, AROUND_PX, size_px)
                inside = nearby.of(box[:2], (box[2] - box[0], box[3] - box[1]))
                if inside:
                    own = slice(square[0] - box[0], square[2] - box[0]), slice(square[1] - box[1], square[3] - box[1])
                    yield box[:2], _paint_all(inside, strips, box), own


def _keep(instance_map: InstanceMap, own: tuple[slice, slice] | None) -> InstanceMap:
    """The objects whose first pixel, row by row, lies in a part of the map, renumbered; all of them if that is None."""
    if own is None:
        return instance_map
    ids, firsts = np.unique(instance_map, return_index=True)
    rows, columns = np.unravel_index(firsts, instance_map.shape)
    is_own = (rows >= own[0].start) & (rows < own[0].stop) & (columns >= own[1].start) & (columns < own[1].stop)
    is_kept = np.zeros(int(ids.max(initial=0)) + 1, bool)
    is_kept[ids[is_own]] = True
    is_kept[0] = False
    return renumber(np.where(is_kept[instance_map], instance_map, 0).astype(np.int32))


def _drop_settled(instance_map: InstanceMap, solid_map: InstanceMap) -> InstanceMap:
    """The objects that regions have not settled already: of those, half of the pixels or more are solid."""
    if not solid_map.any():
        return instance_map
    count = int(instance_map.max(initial=0)) + 1
    areas = np.bincount(instance_map.ravel(), minlength=count)
    solid = np.bincount(instance_map.ravel(), solid_map.ravel(), minlength=count)
    return renumber(np.where((2 * solid >= areas)[instance_map], 0, instance_map).astype(np.int32))


def _gather(groups: Iterable[list[Piece]]) -> Iterator[list[Piece]]:
    """Groups that lie close together, in one: they do not meet, and a canvas for each would take longer."""
    gathered: dict[tuple[int, int], list[Piece]] = defaultdict(list)
    for group in groups:
        top, left, bottom, right = _bounds(group)
        if max(bottom - top, right - left) > CELL_PX:
            yield group
        else:
            gathered[top // CELL_PX, left // CELL_PX] += group
    yield from gathered.values()


def _bounds(group: Sequence[Piece]) -> Box:
    """Top, left, bottom and right of all pieces."""
    return (
        min(piece.top for piece in group),
        min(piece.left for piece in group),
        max(piece.top + piece.shape[0] for piece in group),
        max(piece.left + piece.shape[1] for piece in group),
    )


def _paint_solids(solids: Nearby[Solid], corner: tuple[int, int], shape: tuple[int, ...]) -> InstanceMap:
    """A map of 1 where there are solids, and 0 elsewhere."""
    canvas = np.zeros(shape, np.int32)
    for solid in solids.of(corner, shape):
        _paint(canvas, solid.mask.astype(np.int32), solid.top - corner[0], solid.left - corner[1])
    return canvas


def _grown(box: Box, margin_px: int, size_px: tuple[int, int]) -> Box:
    """A box with room for objects to grow, as far as the slide goes."""
    top, left, bottom, right = box
    return (
        max(0, top - margin_px),
        max(0, left - margin_px),
        min(size_px[0], bottom + margin_px),
        min(size_px[1], right + margin_px),
    )


def _paint_all(group: Sequence[Piece], strips: Nearby[Strip], box: Box) -> Evidence:
    """The evidence of some pieces in a box."""
    top, left, bottom, right = box
    shape = bottom - top, right - left
    first = group[0].evidence
    canvas = Evidence(
        mask=np.zeros(shape, bool),
        inner=None if first.inner is None else np.zeros(shape, np.float32),
        types=None if first.types is None else np.zeros(shape, np.uint8),
    )
    for piece in group:
        row, column = piece.top - top, piece.left - left
        _paint(canvas.mask.view(np.uint8), piece.evidence.mask.view(np.uint8), row, column)
        if canvas.inner is not None and piece.evidence.inner is not None:
            _paint(canvas.inner, piece.evidence.inner, row, column)
        if canvas.types is not None and piece.evidence.types is not None:
            _paint(canvas.types, piece.evidence.types, row, column)
    if canvas.types is not None:
        for strip in strips.of((top, left), shape):
            _paint(canvas.types, strip.types, strip.top - top, strip.left - left)
    return canvas


def _paint(canvas: np.ndarray, values: np.ndarray, top: int, left: int) -> None:
    """Enter values on a canvas, as far as they lie on it and are larger than what is there."""
    rows = slice(max(0, top), max(0, top + values.shape[0]))
    columns = slice(max(0, left), max(0, left + values.shape[1]))
    place = canvas[rows, columns]
    if place.size:
        cut = values[max(0, -top) :, max(0, -left) :][: place.shape[0], : place.shape[1]]
        np.maximum(place, cut, out=place)


def group_pieces(pieces: Sequence[Piece], reach_px: int) -> list[list[Piece]]:
    """The pieces of one structure that have to be seen together, in the order in which the first of each comes."""
    parents = list(range(len(pieces)))

    def root(number: int) -> int:
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    for one, other in [*_held(pieces), *_connected(pieces, reach_px)]:
        first, second = sorted((root(one), root(other)))
        parents[second] = first
    groups: dict[int, list[Piece]] = defaultdict(list)
    for number, piece in enumerate(pieces):
        groups[root(number)].append(piece)
    return list(groups.values())


def _held(pieces: Sequence[Piece]) -> Iterator[tuple[int, int]]:
    """Pieces with those of their region that may surround them."""
    firsts: dict[str, int] = {}
    for number, piece in enumerate(pieces):
        first = firsts.setdefault(piece.region, number)
        if piece.holder >= 0:
            yield number, first + piece.holder


def _connected(pieces: Sequence[Piece], reach_px: int) -> Iterator[tuple[int, int]]:
    """Pieces of different regions that are connected, or would be if what others could not know were added."""
    nearby, numbers = Nearby(pieces), {id(piece): number for number, piece in enumerate(pieces)}
    for number, piece in enumerate(pieces):
        for other in nearby.of((piece.top, piece.left), piece.shape, reach_px + 1):
            if numbers[id(other)] > number and other.region != piece.region and _touch(piece, other, reach_px + 1):
                yield number, numbers[id(other)]


def _touch(one: Piece, other: Piece, margin_px: int) -> bool:
    """Whether two pieces touch, by edges or corners, once one is grown as far as its region could not see."""
    top, left = one.top - margin_px, one.left - margin_px
    bottom, right = one.top + one.part.shape[0] + margin_px, one.left + one.part.shape[1] + margin_px
    first, start = max(top, other.top), max(left, other.left)
    last, stop = min(bottom, other.top + other.part.shape[0]), min(right, other.left + other.part.shape[1])
    if first >= last or start >= stop:
        return False
    grown = dilate(np.pad(one.part, margin_px), margin_px)
    mine = grown[first - top : last - top, start - left : stop - left]
    theirs = other.part[first - other.top : last - other.top, start - other.left : stop - other.left]
    return bool((mine & theirs).any())
