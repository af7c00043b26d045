"""A region of a slide with its truth, as maps."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool

from histoseg.files.regions import Polygon, Region
from histoseg.types import InstanceMap, SemanticMap

Box = tuple[int | float, int | float, int | float, int | float]  # Left, top, right, bottom in base pixels
Origin = tuple[int | float, int | float]


@dataclass(frozen=True, kw_only=True)
class TruthRegion:
    """One structure's truth in a region of a slide.

    Attributes:
        box: The region in base pixels.
        scale: Pixels of the maps per base pixel.
        known: Where the truth is known: elsewhere nothing is scored.
        type_map: The class of each pixel's object, IGNORE where it has none; None if no object has a class.
        classes: The names of classes, background first.
    """

    slide: str
    name: str
    structure: str
    box: Box
    scale: float
    instance_map: InstanceMap
    known: Bool[np.ndarray, "H W"]
    type_map: SemanticMap | None
    classes: tuple[str, ...]


def moved(region: Region, origin: Origin, scale: float) -> Region:
    """The region in pixels of a map whose upper left corner is at `origin`."""
    start = np.array(origin)
    polygons = [
        Polygon(
            outline=(polygon.outline - start) * scale, holes=tuple((hole - start) * scale for hole in polygon.holes)
        )
        for polygon in region.polygons
    ]
    return replace(region, polygons=tuple(polygons))
