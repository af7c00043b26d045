"""Polygons of objects against their instance map; Shapely judges areas, validity and what lies within."""

import numpy as np
import pytest
import shapely
from beartype.roar import BeartypeException
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jaxtyping import TypeCheckError
from shapely.geometry import MultiPolygon, Polygon

from histoseg.maps.outlines import trace_polygons


def drawn(*rows):
    """An instance map of one digit a pixel."""
    return np.array([[int(digit) for digit in row] for row in rows], np.int32)


MAPS = {
    "a ring": drawn("1111", "1001", "1001", "1111"),
    "nested": drawn("11111", "12221", "12321", "12221", "11111"),
    "two pieces": drawn("11000", "11000", "00011"),
    "pieces that touch by a corner": drawn("100", "010", "001"),
    "a hole that touches the outside by a corner": drawn("111", "101", "110"),
    "two holes that touch by a corner": drawn("1111", "1011", "1101", "1111"),
    "holes around a piece": drawn("11111", "11011", "10101", "11011", "11111"),
    "a hole that two others of a ring enclose": drawn("0110", "1001", "1001", "0110"),
    "corners of the image": drawn("102", "000", "304"),
    "all of the image": drawn("11", "11"),
    "a single pixel": drawn("1"),
    "a single pixel within": drawn("000", "070", "000"),
    "an object through another": drawn("121", "121", "121"),
    "nothing": drawn("000"),
    "a checkerboard": drawn("1212", "2121", "1212"),
}


def as_shapely(polygons):
    return MultiPolygon([Polygon(outer, holes) for outer, *holes in polygons])


def check(instance_map):
    """Every object is its polygons and nothing else is."""
    found = trace_polygons(instance_map)
    assert list(found) == [number for number in np.unique(instance_map).tolist() if number]
    rows, columns = np.indices(instance_map.shape) + 0.5
    for number, polygons in found.items():
        shape = as_shapely(polygons)
        assert shape.is_valid, shapely.is_valid_reason(shape)
        assert shape.area == (instance_map == number).sum()
        np.testing.assert_array_equal(shapely.contains_xy(shape, columns, rows), instance_map == number)
        for outer, *holes in polygons:
            assert shapely.LinearRing(outer).is_ccw  # RFC 7946, 3.1.6
            assert not any(shapely.LinearRing(hole).is_ccw for hole in holes)
            assert all(has_only_corners(ring) for ring in (outer, *holes))
    whole = shapely.unary_union([as_shapely(polygons) for polygons in found.values()])
    assert whole.area == (instance_map > 0).sum()  # None lies over another.


def has_only_corners(ring):
    """Whether each next side is at a right angle to the one before."""
    sides = np.roll(ring, -1, axis=0) - ring
    return (np.count_nonzero(sides, axis=1) == 1).all() and ((sides * np.roll(sides, 1, axis=0)).sum(axis=1) == 0).all()


@pytest.mark.parametrize("name", MAPS)
def test_polygons_are_the_objects(name):
    check(MAPS[name])


@given(arrays(np.int32, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.integers(0, 2)))
@settings(max_examples=400, deadline=None)
def test_polygons_are_the_objects_of_any_map(instance_map):
    check(instance_map)


@pytest.mark.parametrize(
    ("name", "pieces_and_rings"),
    [
        ("a ring", [2]),
        ("two pieces", [1, 1]),
        ("pieces that touch by a corner", [1, 1, 1]),
        ("a hole that touches the outside by a corner", [2]),
        ("two holes that touch by a corner", [3]),
        ("holes around a piece", [2, 1]),
    ],
)
def test_pieces_and_holes_are_counted(name, pieces_and_rings):
    assert [len(rings) for rings in trace_polygons(MAPS[name])[1]] == pieces_and_rings


def test_a_pixel_has_its_four_corners():
    ((ring,),) = trace_polygons(MAPS["a single pixel within"])[7]
    assert sorted(map(tuple, ring.tolist())) == [(1, 1), (1, 2), (2, 1), (2, 2)]


@pytest.mark.parametrize("wrong", [np.zeros((3, 3), bool), np.zeros(3, np.int32)])
def test_an_instance_map_is_needed(wrong):
    with pytest.raises((BeartypeException, TypeCheckError)):
        trace_polygons(wrong)
