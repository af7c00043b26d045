"""Corrected outlines of a region, checked before any of them is taken: every fault is one line."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from histoseg.errors import DataError
from histoseg.files.geojson import read_geojson
from histoseg.files.regions import DrawnRegions, Region, find_name, paint, vertices
from histoseg.files.resolution import disagree

BEYOND = 0.02  # How far an outline may reach beyond its region, in sides of the region: hands are no finer.
FEWEST = 3  # Objects that show another image or resolution; fewer may have been copied or redrawn.
MAX_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a file is of.

    Attributes:
        size: Height and width of the region in pixels.
        classes: Those of its objects, background first.
        predicted: What the model found there, by its identity in the exported file.
        others: The region that each identity exported with the other regions of the round belongs to.
    """

    name: str
    size: tuple[int, int]
    classes: tuple[str, ...]
    predicted: Mapping[str, Region]
    others: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """A region's objects as an annotator left them.

    Attributes:
        regions: The objects with the names of their classes as the source has them.
        drawn: The map of them.
    """

    name: str
    path: Path
    regions: tuple[Region, ...]
    drawn: DrawnRegions


def read_corrected(path: Path, expected: Expected, *, may_be_empty: bool = False) -> Corrected:
    """The objects of a corrected file.

    Raises:
        DataError: If it is not an annotation of that region; a line for each fault.
    """
    regions = read_geojson(path)
    if not regions and not may_be_empty:
        raise DataError(f"{path}: has no object; if the region has none, give --accept-empty, else export it again")
    if fault := _other_image(regions, expected) or _other_mpp(regions, expected):
        raise DataError(f"{path}: {fault}")
    beyond = _beyond(regions, expected.size)
    drawn = paint(regions, expected.size)
    tiny = [i - 1 for i in drawn.outside if i - 1 not in beyond]
    width, height = expected.size[1], expected.size[0]
    faults = [
        *_some([text for i, text in _shapes(regions) if i not in tiny]),
        *_classes(regions, expected),
        *_some([f"{_say(regions, i)} reaches beyond the region of {width}x{height} px; redraw it" for i in beyond]),
        *_some([f"{_say(regions, i)} has no pixel in the region; delete it" for i in tiny]),
        *_some([f"{_say(regions, i - 1)} lies wholly under later ones; delete it or those" for i in drawn.covered]),
    ]
    if faults:
        raise DataError("\n".join(f"{path}: {fault}" for fault in faults))
    named = tuple(replace(region, class_name=_class_of(region, expected.classes)) for region in regions)
    return Corrected(name=expected.name, path=path, regions=named, drawn=drawn)


def _some(faults: Sequence[str]) -> list[str]:
    """The first faults of a kind, and how many more there are: one wrong object can cover all others."""
    more = len(faults) - MAX_NAMED
    return [*faults[:MAX_NAMED], *([f"{more} more objects have the same fault"] if more > 0 else [])]


def _say(regions: Sequence[Region], i: int) -> str:
    x, y = vertices(regions[i]).mean(axis=0)
    return f"object {i + 1}, about x = {x:.0f}, y = {y:.0f},"


def _other_image(regions: Sequence[Region], expected: Expected) -> str:
    """A fault where more objects have identities of another region than of this one."""
    strange = [expected.others[region.identity] for region in regions if region.identity in expected.others]
    own = sum(region.identity in expected.predicted for region in regions)
    if len(strange) < FEWEST or own >= len(strange):
        return ""
    other = max(set(strange), key=strange.count)
    return (
        f"{len(strange)} of its {len(regions)} objects are those of region {other}, not of {expected.name}; give it the"
        " name of the region that it was drawn on"
    )


def _other_mpp(regions: Sequence[Region], expected: Expected) -> str:
    """A fault where exported objects have, in the median, become larger or smaller."""
    factors = [
        _extent(region) / _extent(expected.predicted[region.identity])
        for region in regions
        if region.identity in expected.predicted
    ]
    if len(factors) < FEWEST or not disagree(float(np.median(factors)), 1.0):
        return ""
    return (
        f"its objects are {np.median(factors):.3g} times as large as they were exported, so its pixels are of another"
        " size; export them from the image of the region itself"
    )


def _extent(region: Region) -> float:
    """The diagonal of the box around an object."""
    points = vertices(region)
    return max(math.hypot(*(points.max(axis=0) - points.min(axis=0)).tolist()), 1e-9)


def _shapes(regions: Sequence[Region]) -> Iterator[tuple[int, str]]:
    """Each object whose outline crosses itself, with the fault."""
    import shapely

    for i, region in enumerate(regions):
        for polygon in region.polygons:
            shape = shapely.Polygon(polygon.outline, [hole for hole in polygon.holes if len(hole) >= 3])
            if not shapely.is_valid(shape):
                yield i, f"{_say(regions, i)} has an invalid outline ({shapely.is_valid_reason(shape)}); redraw it"
                break


def _beyond(regions: Sequence[Region], size: tuple[int, int]) -> list[int]:
    """The objects that reach far beyond the region."""
    extent = np.array([size[1], size[0]], np.float64)
    low, high = -BEYOND * extent, (1 + BEYOND) * extent
    spans = [vertices(region) for region in regions]
    return [i for i, points in enumerate(spans) if ((points < low) | (points > high)).any()]


def _classes(regions: Sequence[Region], expected: Expected) -> Iterator[str]:
    """A fault for each name of a class that the source has not."""
    unknown: dict[str, int] = {}
    for region in regions:
        if not _class_of(region, expected.classes):
            unknown[region.class_name] = unknown.get(region.class_name, 0) + 1
    choices = ", ".join(expected.classes[1:])
    for name, count in unknown.items():
        what = f"objects of an unknown class {name!r}" if name else "objects without a class"
        yield f"{what}: {count}; choose from {choices}"


def _class_of(region: Region, classes: Sequence[str]) -> str:
    """The class that is meant; empty if none is. Where there is only one, objects need not name it."""
    if not region.class_name and len(classes) == 2:
        return classes[1]
    return find_name(region.class_name, classes[1:])
