"""What a region settles by itself: objects that no other region can change; the rest are pieces for `stitch`.

Objects of a structure depend on each other only where their evidence is connected, see `Separator.reach_px`. So
evidence that is connected with none beyond the region's borders is settled here, and every connected part that comes
close to a border shared with another region is a piece. So is a part that a piece may surround, as objects are filled,
and one that lies where a piece of the structure may be that it must lie within, as lumina within glands.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, UInt8

from histoseg.maps.evidence import Evidence, Separator
from histoseg.maps.objects import renumber, vote_types, within
from histoseg.maps.runs import find_runs
from histoseg.structures import structures
from histoseg.types import InstanceMap, SemanticMap

LARGE_PX = 2**18  # Of a part that is flooded: some hundred nuclei that touch one another
NEAR_PX = 64  # The margin of the published code, at 0.5 microns per pixel


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Which of a region's borders other regions lie beyond."""

    top: bool = False
    left: bool = False
    bottom: bool = False
    right: bool = False


@dataclass(frozen=True, kw_only=True)
class FoundObjects:
    """Objects of one structure in a rectangle of the slide, with their classes by ascending id; 0 without a class."""

    structure: str
    top: int
    left: int
    instance_map: InstanceMap
    classes: UInt8[np.ndarray, " N"]
    class_probabilities: Float64[np.ndarray, " N"]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of evidence that other regions may go on with, in a rectangle of the slide.

    Attributes:
        region: Where it is from.
        part: Its pixels, those that `Separator.reach_px` adds included; there is no evidence elsewhere.
        holder: The number of the piece that may surround it among those of its region and structure; -1 if none does.
    """

    structure: str
    region: str
    top: int
    left: int
    part: Bool[np.ndarray, "H W"]
    evidence: Evidence
    holder: int = -1

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width."""
        return self.part.shape


@dataclass(frozen=True, kw_only=True)
class Solid:
    """The pixels of settled objects, which pieces may lie within, or, of the same structure, show once more."""

    structure: str
    top: int
    left: int
    mask: Bool[np.ndarray, "H W"]

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width."""
        return self.mask.shape


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Classes of pixels along a shared border, where objects of the neighbour may grow."""

    structure: str
    top: int
    left: int
    types: SemanticMap

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width."""
        return self.types.shape


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What a region settles, and what it leaves."""

    found: Sequence[FoundObjects] = ()
    pieces: Sequence[Piece] = ()
    solids: Sequence[Solid] = ()
    strips: Sequence[Strip] = ()


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """Connected parts of a map from 1 on, with the background as 0."""

    labels: Int32[np.ndarray, "H W"]
    boxes: Int32[np.ndarray, "N 4"]  # Top, left, bottom, right; the last two are the first row and column beyond
    areas: Int64[np.ndarray, " N"]  # In pixels
    is_open: Bool[np.ndarray, " N"]  # Whether it is a piece
    holders: Int32[np.ndarray, " N"]  # As in `Piece`

    @property
    def open_boxes(self) -> Int32[np.ndarray, "_ 4"]:
        """The boxes of open parts."""
        return np.asarray(self.boxes[self.is_open])


def settle(objects: Mapping[str, Evidence], separator: Separator, sides: Sides, where: tuple[str, int, int]) -> Settled:
    """The settled objects and the pieces of a region.

    Args:
        objects: By structure, the outermost first.
        separator: How objects are made.
        sides: Which borders are shared.
        where: The region's name, top and left on the slide.
    """
    found: dict[str, FoundObjects] = {}
    parts: dict[str, _Parts] = {}
    left: dict[str, Evidence] = {}
    solids: list[Solid] = []
    for name, evidence in objects.items():
        outer = structures()[name].within
        parts[name], far, left[name] = _cut_large(name, evidence, separator, sides, parts.get(outer))
        is_settled = ~parts[name].is_open[parts[name].labels]
        instance_map = separator.separate(name, left[name].only(is_settled))
        if far.any():
            solids.append(Solid(structure=name, top=where[1], left=where[2], mask=far > 0))
            instance_map = np.where(far > 0, far + instance_map.max(initial=0), instance_map).astype(np.int32)
        if outer in found:
            instance_map = within(instance_map, found[outer].instance_map)
        found[name] = classify(name, where[1:], instance_map, evidence)
    return Settled(
        found=tuple(found.values()),
        pieces=tuple(piece for name, each in parts.items() for piece in _pieces(name, each, left[name], where)),
        solids=(*solids, *(solid for name in found for solid in _solids(name, found, parts))),
        strips=tuple(
            strip
            for name, evidence in objects.items()
            for strip in _strips(name, evidence.types, sides, separator.reach_px(name), where[1:])
        ),
    )


def classify(name: str, corner: tuple[int, int], instance_map: InstanceMap, evidence: Evidence) -> FoundObjects:
    """Objects with the class that most of their pixels have; `corner` is their map's top and left on the slide."""
    count = int(instance_map.max(initial=0))
    classes, shares = np.zeros(count, np.uint8), np.zeros(count)
    if evidence.types is not None:
        classes, shares = vote_types(instance_map, evidence.types, int(evidence.types.max(initial=0)) + 1)
    return FoundObjects(
        structure=name,
        top=corner[0],
        left=corner[1],
        instance_map=instance_map,
        classes=classes,
        class_probabilities=shares,
    )


def dilate(mask: Bool[np.ndarray, "H W"], reach_px: int) -> Bool[np.ndarray, "H W"]:
    """The mask, grown by so many pixels in each direction and diagonally."""
    if not reach_px or not mask.size:
        return mask
    element = np.ones((2 * reach_px + 1, 2 * reach_px + 1), np.uint8)
    return np.asarray(cv2.dilate(mask.view(np.uint8), element).view(bool))


def _cut_large(
    name: str, evidence: Evidence, separator: Separator, sides: Sides, outer: _Parts | None
) -> tuple[_Parts, InstanceMap, Evidence]:
    """The parts of the evidence; where one is very large, its objects far from borders; and the evidence without them.

    Nuclei that touch one another can be a part as large as the region, which would be kept whole with all its
    probabilities. Of parts of more than `LARGE_PX` pixels, objects that do not come within `NEAR_PX` of a shared border
    are settled here, and twice as much is left for the others. So objects are those of the whole slide as far as none
    changes another at that distance.
    """
    parts = _open_parts(name, evidence, separator, sides, outer)
    nothing = np.zeros(evidence.mask.shape, np.int32)
    is_large = parts.is_open & (parts.areas > LARGE_PX)
    if evidence.inner is None or not is_large.any():
        return parts, nothing, evidence
    chosen = is_large[parts.labels]
    flooded = separator.separate(name, evidence.only(chosen))
    is_near = np.zeros(int(flooded.max(initial=0)) + 1, bool)
    is_near[np.unique(flooded[_strip_of(flooded.shape, sides, NEAR_PX)])] = True
    far = renumber(np.where(is_near[flooded], 0, flooded).astype(np.int32))
    without = evidence.only(~chosen | (is_near[flooded] & (flooded > 0)) | _strip_of(far.shape, sides, 2 * NEAR_PX))
    return _open_parts(name, without, separator, sides, outer), far, without


def _strip_of(shape: tuple[int, ...], sides: Sides, width_px: int) -> Bool[np.ndarray, "H W"]:
    """The pixels within that distance of shared borders."""
    strip = np.zeros(shape, bool)
    strip[: width_px if sides.top else 0] = True
    strip[:, : width_px if sides.left else 0] = True
    strip[shape[0] - width_px if sides.bottom else shape[0] :] = True
    strip[:, shape[1] - width_px if sides.right else shape[1] :] = True
    return strip


def _open_parts(name: str, evidence: Evidence, separator: Separator, sides: Sides, outer: _Parts | None) -> _Parts:
    """The connected parts of the evidence, and which of them are pieces."""
    reach_px = separator.reach_px(name)
    grown = dilate(separator.support(name, evidence), reach_px)
    count, labels = cv2.connectedComponents(grown.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    runs = find_runs(labels)
    boxes, areas = runs.find_boxes(count), runs.count_pixels(count)
    is_open = np.zeros(count, bool)
    is_open[_at_borders(labels, sides, reach_px + 1)] = True
    if outer is not None:
        is_open |= _meet(boxes, outer.open_boxes)
    is_open[0] = False
    holders = _holders(separator.filled(name, evidence), labels, boxes, is_open)
    is_open |= holders >= 0
    return _Parts(labels=labels, boxes=boxes, areas=areas, is_open=is_open, holders=holders)


def _at_borders(labels: Int32[np.ndarray, "H W"], sides: Sides, band_px: int) -> Int32[np.ndarray, " N"]:
    """The labels close to shared borders; what is beyond could reach as far as what is here does."""
    bands = [
        band
        for is_shared, band in (
            (sides.top, labels[:band_px]),
            (sides.bottom, labels[-band_px:]),
            (sides.left, labels[:, :band_px]),
            (sides.right, labels[:, -band_px:]),
        )
        if is_shared
    ]
    return np.unique(np.concatenate([band.ravel() for band in bands])) if bands else np.zeros(0, np.int32)


def _holders(
    filled: Bool[np.ndarray, "H W"],
    labels: Int32[np.ndarray, "H W"],
    boxes: Int32[np.ndarray, "N 4"],
    is_open: Bool[np.ndarray, " N"],
) -> Int32[np.ndarray, " N"]:
    """For each part the number of an open one, counted among them, that may surround it; -1 for others.

    What a piece of the map to be filled surrounds lies in that piece's box, unless its hole is larger than the region.
    """
    holders = np.full(len(boxes), -1, np.int32)
    for number, part in enumerate(np.flatnonzero(is_open).tolist()):
        top, left, bottom, right = boxes[part].tolist()
        is_closed_inside = ~is_open & _lie_within(boxes, (top, left, bottom, right))
        if not is_closed_inside.any():
            continue
        place = slice(top, bottom), slice(left, right)
        mine = (filled[place] & (labels[place] == part)).view(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mine, connectivity=8, ltype=cv2.CV_32S)
        for x, y, width, height in stats[1:, :4].tolist():
            box = top + y, left + x, top + y + height, left + x + width
            holders[is_closed_inside & _lie_within(boxes, box)] = number
    holders[0] = -1
    return holders


def _lie_within(boxes: Int32[np.ndarray, "N 4"], box: tuple[int, int, int, int]) -> Bool[np.ndarray, " N"]:
    """Whether each box lies within one."""
    top, left, bottom, right = box
    begins = (boxes[:, 0] >= top) & (boxes[:, 1] >= left)
    return np.asarray(begins & (boxes[:, 2] <= bottom) & (boxes[:, 3] <= right))


def _meet(boxes: Int32[np.ndarray, "N 4"], others: Int32[np.ndarray, "M 4"]) -> Bool[np.ndarray, " N"]:
    """Whether each box overlaps one of the others."""
    result = np.zeros(len(boxes), bool)
    for top, left, bottom, right in others.tolist():
        result |= (boxes[:, 0] < bottom) & (boxes[:, 2] > top) & (boxes[:, 1] < right) & (boxes[:, 3] > left)
    return result


def _pieces(name: str, parts: _Parts, evidence: Evidence, where: tuple[str, int, int]) -> list[Piece]:
    """The open parts; those that others may surround come last, as holders are counted among the others."""
    region, top, left = where
    is_held = parts.holders >= 0
    numbers = np.flatnonzero(parts.is_open & ~is_held), np.flatnonzero(parts.is_open & is_held)
    pieces = []
    for number in np.concatenate(numbers).tolist():
        first, start, last, stop = parts.boxes[number].tolist()
        rows, columns = slice(first, last), slice(start, stop)
        part = parts.labels[rows, columns] == number
        pieces.append(
            Piece(
                structure=name,
                region=region,
                top=top + first,
                left=left + start,
                part=part,
                evidence=evidence.crop(rows, columns).only(part),
                holder=int(parts.holders[number]),
            )
        )
    return pieces


def _strips(
    name: str, types: SemanticMap | None, sides: Sides, width_px: int, corner: tuple[int, int]
) -> Iterator[Strip]:
    """The classes of pixels that objects beyond a border may grow over."""
    if types is None or not width_px:
        return
    (top, left), (height, width) = corner, types.shape
    whole = slice(None)
    for is_shared, rows, columns in (
        (sides.top, slice(0, width_px), whole),
        (sides.bottom, slice(max(0, height - width_px), height), whole),
        (sides.left, whole, slice(0, width_px)),
        (sides.right, whole, slice(max(0, width - width_px), width)),
    ):
        if is_shared:
            first, start = top + (rows.start or 0), left + (columns.start or 0)
            yield Strip(structure=name, top=first, left=start, types=types[rows, columns])


def _solids(name: str, found: Mapping[str, FoundObjects], parts: Mapping[str, _Parts]) -> list[Solid]:
    """The settled objects where pieces of structures are that lie within them."""
    inner = [parts[other].open_boxes for other in found if structures()[other].within == name]
    if not inner or not sum(map(len, inner)):
        return []
    objects, solids = found[name], []
    boxes = find_runs(objects.instance_map).find_boxes(len(objects.classes) + 1)
    is_met = _meet(boxes, np.concatenate(inner))
    for number in np.flatnonzero(is_met).tolist():
        top, left, bottom, right = boxes[number].tolist()
        mask = objects.instance_map[top:bottom, left:right] == number
        solids.append(Solid(structure=name, top=objects.top + top, left=objects.left + left, mask=mask))
    return solids
