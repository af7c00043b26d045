"""Rows of objects against their instance map; Shapely reads the polygons and judges them."""

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jaxtyping import TypeCheckError

from histoseg.slides.tabulate import SCHEMA, STEP_PX, tabulate
from tests.maps.test_outlines import MAPS, drawn

NO_CLASSES = {"class_names": (), "classes": np.zeros(0, np.uint8), "class_probabilities": np.zeros(0)}


def rows_of(instance_map, *, origin_xy=(0, 0), scale_xy=(1.0, 1.0), mpp=0.5, **classes):
    table = tabulate(instance_map, "nuclei", **(classes or NO_CLASSES), origin_xy=origin_xy, scale_xy=scale_xy, mpp=mpp)
    assert table.schema.equals(SCHEMA)
    table.validate(full=True)
    return table


def shapes_of(table):
    return shapely.from_wkb(np.array(table["geometry"].to_pylist(), object))


def check(instance_map, *, origin_xy, scale_xy):
    """Every row is that object: its polygon holds the middles of its pixels and of no others, and is valid."""
    table = rows_of(instance_map, origin_xy=origin_xy, scale_xy=scale_xy)
    numbers = [number for number in np.unique(instance_map).tolist() if number]
    assert table["id"].to_pylist() == numbers
    shapes = shapes_of(table)
    for number, shape, row in zip(numbers, shapes, table.to_pylist(), strict=True):
        assert shape.is_valid, shapely.is_valid_reason(shape)
        rows, columns = np.nonzero(instance_map == number)
        middles = [
            ((at + 0.5).mean() + start) * scale
            for at, start, scale in zip((columns, rows), origin_xy, scale_xy, strict=True)
        ]
        assert (row["x"], row["y"]) == pytest.approx(middles, rel=1e-6)
        assert row["area_um2"] == pytest.approx(len(rows) * np.prod(scale_xy) * 0.25, rel=1e-6)
        assert tuple(row["bbox"].values()) == shape.bounds  # Exactly, though they have 32 bits
        rows, columns = np.indices(instance_map.shape) + 0.5
        inside = shapely.contains_xy(shape, (columns + origin_xy[0]) * scale_xy[0], (rows + origin_xy[1]) * scale_xy[1])
        np.testing.assert_array_equal(inside, instance_map == number)
    whole = shapely.unary_union(shapes)
    assert whole.area == pytest.approx(shapely.area(shapes).sum())  # None lies over another.


@pytest.mark.parametrize("name", MAPS)
def test_rows_are_the_objects(name):
    check(MAPS[name], origin_xy=(3000, 70_000), scale_xy=(2.0, 2.0))


@given(
    arrays(np.int32, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.integers(0, 2)),
    st.tuples(st.integers(0, 200_000), st.integers(0, 200_000)),
    st.tuples(st.floats(0.5, 10), st.floats(0.5, 10)),
)
@settings(max_examples=200, deadline=None)
def test_rows_are_the_objects_of_any_map(instance_map, origin_xy, scale_xy):
    # From 0.5 on, corners are rounded by a quarter of a pixel of the grid at most, so middles stay on their side.
    check(instance_map, origin_xy=origin_xy, scale_xy=scale_xy)


@given(
    arrays(np.int32, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 2)),
    st.tuples(st.floats(0.05, 0.5), st.floats(0.05, 0.5)),
)
@settings(max_examples=100, deadline=None)
def test_polygons_stay_valid_where_pixels_of_the_grid_are_small(instance_map, scale_xy):
    table = rows_of(instance_map, origin_xy=(1234, 567), scale_xy=scale_xy)
    assert shapely.is_valid(shapes_of(table)).all()
    assert len(shapely.get_parts(shapes_of(table))) == len(shapely.get_parts(shapes_of(rows_of(instance_map))))


@pytest.mark.parametrize("scale", [1.0, 1.5, 2.0, 4.0])
def test_corners_are_exact_where_the_scale_is_a_whole_number_or_a_half(scale):
    table = rows_of(MAPS["holes around a piece"], origin_xy=(7, 11), scale_xy=(scale, scale))
    (shape,) = shapes_of(table)
    assert shape.area == (MAPS["holes around a piece"] > 0).sum() * scale**2


def test_neighbouring_crops_round_their_common_border_alike():
    whole = drawn("1122", "1122")
    scale = (1.987, 2.013)
    left, right = (
        shapes_of(rows_of(np.ascontiguousarray(part), origin_xy=(x, 5), scale_xy=scale))[0]
        for part, x in ((whole[:, :2], 1001), (whole[:, 2:], 1003))
    )
    assert left.bounds[2] == right.bounds[0]
    assert left.bounds[2] == pytest.approx(1003 * 1.987, abs=STEP_PX / 2)
    assert left.union(right).geom_type == "Polygon"


def test_classes_are_by_object():
    table = rows_of(
        drawn("105", "000", "900"),
        class_names=("background", "round", "long"),
        classes=np.array([2, 0, 1], np.uint8),
        class_probabilities=np.array([1.0, 1.0, 0.75]),
    )
    assert table["id"].to_pylist() == [1, 5, 9]
    assert table["class"].to_pylist() == ["long", None, "round"]
    assert table["class_probability"].to_pylist() == [1.0, None, 0.75]
    assert table["structure"].to_pylist() == ["nuclei"] * 3


def test_without_classes_there_are_none():
    table = rows_of(MAPS["nested"])
    assert table["class"].null_count == table["class_probability"].null_count == len(table) == 3


def test_nothing_is_a_table_without_rows():
    assert len(rows_of(MAPS["nothing"])) == 0
    assert rows_of(MAPS["nothing"])["geometry"].type == pa.binary()


def test_classes_of_other_objects_are_refused():
    with pytest.raises(ValueError, match="3 nuclei, but 1 classes"):
        rows_of(
            MAPS["nested"],
            class_names=("background", "round"),
            classes=np.ones(1, np.uint8),
            class_probabilities=np.ones(1),
        )


@pytest.mark.parametrize("wrong", [np.zeros((2, 2), np.int64), np.zeros((2, 2, 1), np.int32)])
def test_other_than_instance_maps_are_refused(wrong):
    with pytest.raises(TypeCheckError):
        rows_of(wrong)
