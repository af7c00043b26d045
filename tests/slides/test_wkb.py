"""Well-known binary against Shapely, which reads what is written and writes what is read."""

import numpy as np
import pytest
import shapely
from jaxtyping import TypeCheckError

from histoseg.maps.outlines import trace_rings
from histoseg.slides.wkb import decode, encode
from tests.maps.test_outlines import MAPS


def geometries(name):
    rings = trace_rings(MAPS[name])
    found = encode(rings, rings.corners.astype(np.float64))
    return [found.data[begin:end].tobytes() for begin, end in zip(found.offsets[:-1], found.offsets[1:], strict=True)]


@pytest.mark.parametrize("name", MAPS)
def test_bytes_are_those_that_shapely_writes(name):
    for geometry in geometries(name):
        assert shapely.to_wkb(shapely.from_wkb(geometry), byte_order=1) == geometry


@pytest.mark.parametrize("name", MAPS)
def test_what_is_decoded_is_what_was_written(name):
    for geometry in geometries(name):
        polygons = [shapely.Polygon(outer, holes) for outer, *holes in decode(geometry)]
        assert (
            shapely.MultiPolygon(polygons).normalize()
            == shapely.MultiPolygon(shapely.get_parts(shapely.from_wkb(geometry)).tolist()).normalize()
        )


def test_corners_of_another_type_are_refused():
    rings = trace_rings(MAPS["nested"])
    with pytest.raises(TypeCheckError):
        encode(rings, rings.corners)
    with pytest.raises(TypeCheckError):
        encode(rings, rings.corners.astype(np.float64)[:, :1])
