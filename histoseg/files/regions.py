"""Outlines that people drew, from whatever program, and how they become a map of objects."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float64, Int64

from histoseg.errors import DataError
from histoseg.files.fill import Mask, Pixels, Ring, fill_edges, fill_middles, find_middles
from histoseg.files.folders import nfc, plain
from histoseg.files.left_out import leave_out
from histoseg.files.notes import note
from histoseg.types import InstanceMap, SemanticMap

MAX_POSITION_PX = 1e7  # Slides have up to some hundred thousand pixels along a side.
SMALL_PX = 65536  # Pixels of the box around a region that is drawn together with others, in bounded memory
AT_ONCE = 1024  # Regions
BEYOND = 1.0  # How far an outline may reach beyond an image, in sizes of the image; further away it is of a slide.


@dataclass(frozen=True, kw_only=True)
class Polygon:
    """What lies within an outline and outside of its holes; the last vertex of each ring is joined to the first."""

    outline: Ring
    holes: tuple[Ring, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Region:
    """One outlined object, as x, y in pixels of the image; the middle of the first pixel is (0.5, 0.5).

    Attributes:
        polygons: Its pieces, one or more.
        class_name: What the annotator called it; empty if nothing.
        layer: The layer or group it lies in, as the program names it; empty if there are none.
        identity: What the program calls this one object; empty if nothing.
        drawn_on: Height and width of the image that it was drawn on; None if the file does not state it.
    """

    polygons: tuple[Polygon, ...]
    class_name: str = ""
    layer: str = ""
    identity: str = ""
    drawn_on: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class DrawnRegions:
    """Regions as a map, and which of them it does not show whole; the first region has number 1.

    Attributes:
        instance_map: The number of the region that each pixel belongs to, 0 = none.
        outside: Regions without a pixel in the image.
        covered: Regions of which later ones leave nothing.
        overlapping: Regions that cover a part of an earlier one.
    """

    instance_map: InstanceMap
    outside: tuple[int, ...]
    covered: tuple[int, ...]
    overlapping: tuple[int, ...]


def make_ring(points: object, where: str) -> Ring:
    """The vertices as an array, after checking that they are pairs of credible numbers.

    Args:
        points: Vertices as x, y, as a file has them.
        where: The file and the region, for the message.
    """
    try:
        ring = np.asarray(points, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: a vertex that is not two numbers ({error}); export the annotation again") from error
    if ring.size and (ring.ndim != 2 or ring.shape[1] != 2):
        raise DataError(f"{where}: a vertex that is not two numbers, x and y; export the annotation again")
    ring = ring.reshape(-1, 2)
    wrong = ~(np.abs(ring) <= MAX_POSITION_PX).all(axis=1)  # Also not-a-number.
    if wrong.any():
        x, y = ring[wrong][0]
        raise DataError(f"{where}: a vertex at x = {x:g}, y = {y:g}, which no image has; export the annotation again")
    return ring


def contains(outline: Ring, points: Float64[np.ndarray, "P 2"]) -> bool:
    """Whether most of the points lie within an outline, or on it."""
    if (points.min(axis=0) > outline.max(axis=0)).any() or (points.max(axis=0) < outline.min(axis=0)).any():
        return False
    corners = outline.astype(np.float32)
    inside = [cv2.pointPolygonTest(corners, (x, y), measureDist=False) >= 0 for x, y in points.tolist()]
    return 2 * sum(inside) > len(inside)


def with_area(regions: Sequence[Region], path: Path) -> list[Region]:
    """The regions that enclose something; those of fewer than three vertices are left out and counted."""
    pieces = [tuple(piece for piece in region.polygons if len(piece.outline) >= 3) for region in regions]
    kept = [replace(region, polygons=own) for region, own in zip(regions, pieces, strict=True) if own]
    dropped = len(regions) - len(kept)
    remedy = "outline each object as a polygon"
    leave_out(path, "regions with fewer than three vertices", dropped, len(regions), remedy)
    return kept


def draw_polygons(
    regions: Sequence[Region], size: tuple[int, int], path: Path, *, with_edges: bool = False
) -> DrawnRegions:
    """A map in which region i has number i + 1; a later region covers an earlier one, and shows it through its holes.

    What is outside of the image or covered is noted, and overlaps are counted.

    Args:
        regions: What to draw, in order.
        size: Height and width of the image.
        path: The file that the regions are from, for messages.
        with_edges: Whether vertices are whole pixels, and those on an outline belong to the region, as ImageScope's
            users and OpenCV understand it. Otherwise a pixel belongs to a region if its middle lies within.

    Raises:
        DataError: If a region was drawn on an image of another size or lies far from this one, or more than half of
            them have no pixel in the map.
    """
    _require_same_image(regions, size, path)
    drawn = paint(regions, size, with_edges=with_edges)
    _note_losses(len(regions), len(drawn.outside), len(drawn.covered), len(drawn.overlapping), path)
    return drawn


def paint(regions: Sequence[Region], size: tuple[int, int], *, with_edges: bool = False) -> DrawnRegions:
    """As `draw_polygons`, wherever the regions lie: what a map does not show is neither refused nor noted."""
    instance_map = np.zeros(size, np.int32)
    areas, overlapping = np.zeros(len(regions) + 1, np.int64), list[int]()
    for first, group in _groups(regions, alone=with_edges):
        pixels = _pixels(group, size, with_edges=with_edges)
        numbers = first + pixels.owners
        areas[first : first + len(group)] = np.bincount(pixels.owners, minlength=len(group))
        overlapping += _covering(instance_map, pixels.places, numbers)
        instance_map.ravel()[pixels.places] = numbers  # Where a pixel occurs twice, the last number stays.
    left = np.bincount(instance_map.ravel(), minlength=len(regions) + 1)
    outside = tuple(np.flatnonzero(areas[1:] == 0) + 1)
    covered = tuple(np.flatnonzero((areas[1:] > 0) & (left[1:] == 0)) + 1)
    return DrawnRegions(
        instance_map=instance_map,
        outside=tuple(map(int, outside)),
        covered=tuple(map(int, covered)),
        overlapping=tuple(overlapping),
    )


def _groups(regions: Sequence[Region], *, alone: bool) -> Iterator[tuple[int, Sequence[Region]]]:
    """Consecutive regions that are drawn together, with the number of the first."""
    plain = [not alone and _is_plain(region) for region in regions]
    first = 0
    while first < len(regions):
        end, most = first + 1, min(len(regions), first + AT_ONCE)
        while plain[first] and end < most and plain[end]:
            end += 1
        yield first + 1, regions[first:end]
        first = end


def _is_plain(region: Region) -> bool:
    """Whether a region is small and of one piece without holes."""
    polygon = region.polygons[0]
    box = polygon.outline.max(axis=0) - polygon.outline.min(axis=0) + 2
    return len(region.polygons) == 1 and not polygon.holes and bool(box[0] * box[1] <= SMALL_PX)


def _pixels(group: Sequence[Region], size: tuple[int, int], *, with_edges: bool) -> Pixels:
    """The pixels of regions, one after another."""
    if len(group) > 1:
        return find_middles([region.polygons[0].outline for region in group], size)
    place, mask = _mask(group[0], size, fill_edges if with_edges else fill_middles)
    rows, columns = mask.nonzero()
    places = (rows + place[0].start) * size[1] + columns + place[1].start
    return Pixels(places=places, owners=np.zeros(len(places), np.int64))


def _covering(
    instance_map: InstanceMap, places: Int64[np.ndarray, " P"], numbers: Int64[np.ndarray, " P"]
) -> list[int]:
    """The regions that have a pixel of an earlier one."""
    order = np.argsort(places, kind="stable")
    again = order[1:][np.diff(places[order]) == 0]
    earlier = np.flatnonzero(instance_map.ravel()[places])
    return list(map(int, np.unique(numbers[np.concatenate([again, earlier])])))


def _note_losses(total: int, outside: int, covered: int, overlapping: int, path: Path) -> None:
    remedy = "take the annotation of this image, in its own pixels"
    leave_out(path, "regions outside the image or smaller than a pixel", outside, total, remedy)
    remedy = "remove what frames the others, such as the outline of the tissue"
    leave_out(path, "regions wholly covered by later ones", covered, total, remedy)
    note("regions drawn over a part of an earlier one", overlapping)


def classify(
    regions: Sequence[Region], classes: Mapping[str, int], path: Path, *, ignored: Collection[str] = ()
) -> tuple[list[Region], list[int]]:
    """The regions whose class is known, and the class of each; the others are left out and counted.

    Names are equal, or the only ones whose letters and digits are, ignoring case; a + or - at the end counts.

    Args:
        regions: What to classify.
        classes: The number of each class name.
        path: The file that the regions are from, for messages.
        ignored: Names to leave out without a word, such as that of a frame.
    """
    found = {name: find_name(name, [*classes, *ignored]) for name in {region.class_name for region in regions}}
    asked = [region for region in regions if found[region.class_name] not in ignored]
    kept = [region for region in asked if found[region.class_name]]
    if unknown := sorted({region.class_name for region in asked if not found[region.class_name]}):
        remedy = f"their names are {', '.join(map(repr, unknown[:5]))}; known are {', '.join(classes)}; rename them"
        leave_out(path, "regions of an unknown class", len(asked) - len(kept), len(asked), remedy)
    return kept, [classes[found[region.class_name]] for region in kept]


def find_name(name: str, names: Collection[str]) -> str:
    """The one of the names that is meant; empty if none or several may be."""
    exact = [known for known in names if nfc(known).strip() == nfc(name).strip()]
    found = exact or [known for known in names if _letters(known) == _letters(name)]
    return found[0] if len(found) == 1 and plain(name) else ""


def _letters(name: str) -> str:
    """Letters, digits and a sign behind them, as in CD3+."""
    last = name.strip()[-1:]
    return plain(name) + (last if last in ("+", "-") else "")


def to_semantic_map(instance_map: InstanceMap, classes: Sequence[int]) -> SemanticMap:
    """The class of each pixel's object, 0 where there is none; object i + 1 has the i-th of the classes."""
    return np.asarray(np.array([0, *classes], np.uint8)[instance_map])


def _require_same_image(regions: Sequence[Region], size: tuple[int, int], path: Path) -> None:
    """Refuse outlines of another image: of the whole slide beside a part of it, or of another size."""
    extent = np.array([size[1], size[0]], np.float64)
    for number, region in enumerate(regions, start=1):
        if region.drawn_on not in (None, size):
            height, width = region.drawn_on or size
            raise DataError(
                f"{path}: drawn on an image of {width}x{height} px, as the file says, but the image has"
                f" {size[1]}x{size[0]} px; take the image that was annotated, or annotate this one"
            )
        points = vertices(region)
        far = (points < -BEYOND * extent) | (points > (1 + BEYOND) * extent)
        if far.any():
            x, y = points[far.any(axis=1)][0]
            raise DataError(
                f"{path}: region {number} has a vertex at x = {x:g}, y = {y:g}, but the image has {size[1]}x{size[0]}"
                " px; an annotation of the whole slide does not fit a part of it: move the outlines to the image's own"
                " pixels"
            )


def vertices(region: Region) -> Ring:
    """Those of the outlines of all pieces."""
    return np.concatenate([polygon.outline for polygon in region.polygons])


Fill = Callable[[Ring, tuple[int, int], tuple[int, int]], Mask]


def _mask(region: Region, size: tuple[int, int], fill: Fill) -> tuple[tuple[slice, slice], Mask]:
    """The part of the map that a region may touch, and which of its pixels belong to the region."""
    points = vertices(region)
    left, top = np.clip(np.floor(points.min(axis=0)) - 1, 0, (size[1], size[0])).astype(int).tolist()
    right, bottom = np.clip(np.ceil(points.max(axis=0)) + 2, 0, (size[1], size[0])).astype(int).tolist()
    start, shape = (left, top), (bottom - top, right - left)
    mask = np.zeros(shape, bool)
    if mask.size:
        for polygon in region.polygons:
            piece = fill(polygon.outline, start, shape)
            for hole in polygon.holes:
                piece &= ~fill(hole, start, shape)
            mask |= piece
    return (slice(top, bottom), slice(left, right)), mask
