"""Outlines of `objects.parquet` as regions, which `histoseg.files.regions.paint` fills again.

Outlines run along the edges of pixels, so where these are pixels of the map, the map is that which was outlined.
"""

from histoseg.files.regions import Polygon, Region
from histoseg.slides.wkb import decode


def region_of(geometry: bytes) -> Region:
    """The polygons of an object, without the last corner of each ring, which repeats the first."""
    return Region(
        polygons=tuple(
            Polygon(outline=rings[0][:-1], holes=tuple(hole[:-1] for hole in rings[1:])) for rings in decode(geometry)
        )
    )
