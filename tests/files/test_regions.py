"""Outlines as maps, worked by hand and against other implementations."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.draw import polygon2mask

from histoseg.errors import DataError
from histoseg.files import left_out, regions
from histoseg.files.notes import collect
from histoseg.files.regions import (
    Polygon,
    Region,
    classify,
    draw_polygons,
    make_ring,
    paint,
    to_semantic_map,
    with_area,
)

PATH = Path("outlines.xml")


def box(left, top, right, bottom, **fields):
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return Region(polygons=(Polygon(outline=make_ring(corners, "box")),), **fields)


def with_hole(outer, hole):
    return Region(polygons=(Polygon(outline=outer.polygons[0].outline, holes=(hole.polygons[0].outline,)),))


def random_rings(seed, count=150):
    """Polygons of three to eight vertices, most of which cross themselves and the border of an image of 40 x 40."""
    rng = np.random.default_rng(seed)
    return [rng.uniform(-20, 60, (int(rng.integers(3, 9)), 2)) for _ in range(count)]


def test_pixels_belong_to_a_region_that_holds_their_middle():
    # From 1 to 4 lie the middles of pixels 1, 2, 3; from 1.6 to 3.4 that of pixel 2 alone.
    drawn = draw_polygons([box(1, 0, 4, 2), box(1.6, 2.6, 3.4, 3.4)], (4, 5), PATH)
    assert drawn.instance_map.tolist() == [[0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0] * 5, [0] * 5]
    assert drawn.outside == (2,)  # No row of middles lies between 2.6 and 3.4.


def test_vertices_that_are_pixels_belong_to_their_region():
    drawn = draw_polygons([box(1, 0, 3, 1)], (3, 5), PATH, with_edges=True)
    assert drawn.instance_map.tolist() == [[0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0] * 5]


@pytest.mark.parametrize("with_edges", [False, True])
def test_filling_is_that_of_other_programs(monkeypatch, with_edges):
    monkeypatch.setattr(left_out, "MAX_LEFT_OUT", 1.0)  # Some have no pixel.
    for ring in random_rings(0):
        found = draw_polygons(
            [Region(polygons=(Polygon(outline=ring),))], (40, 40), PATH, with_edges=with_edges
        ).instance_map
        if with_edges:
            expected = cv2.fillPoly(np.zeros((40, 40), np.int32), [np.round(ring).astype(np.int32)], 1)
        else:
            expected = polygon2mask((40, 40), (ring - 0.5)[:, ::-1])
        np.testing.assert_array_equal(found, expected)


def test_regions_drawn_together_are_those_drawn_one_by_one(monkeypatch):
    size, outlines = (40, 40), [*random_rings(1, 40), *(ring / 8 + shift for shift, ring in enumerate(random_rings(2)))]
    drawn = [Region(polygons=(Polygon(outline=ring),)) for ring in outlines]
    drawn[20] = with_hole(box(5, 5, 30, 30), box(10, 10, 20, 20))
    together = paint(drawn, size)
    one_by_one, outside, overlapping = np.zeros(size, np.int32), [], []
    for number, each in enumerate(drawn, start=1):
        inside = paint([each], size).instance_map > 0
        outside += [] if inside.any() else [number]
        overlapping += [number] if one_by_one[inside].any() else []
        one_by_one[inside] = number
    left = set(np.unique(one_by_one).tolist())
    np.testing.assert_array_equal(together.instance_map, one_by_one)
    assert min(len(overlapping), len(outside)) > 20
    assert together.outside == tuple(outside)
    assert together.overlapping == tuple(overlapping)
    assert together.covered == tuple(sorted(set(range(1, 191)) - left - set(outside)))
    monkeypatch.setattr(regions, "AT_ONCE", 7)
    np.testing.assert_array_equal(paint(drawn, size).instance_map, one_by_one)


def test_later_regions_cover_earlier_ones_and_show_them_through_holes():
    ring = with_hole(box(0, 0, 6, 6), box(2, 2, 4, 4))
    drawn = draw_polygons([box(2, 2, 3, 3), ring, box(5, 5, 8, 8)], (8, 8), PATH)
    assert drawn.instance_map[2, 2] == 1  # In the hole, which is otherwise background.
    assert drawn.instance_map[3, 3] == 0
    assert np.bincount(drawn.instance_map.ravel()).tolist() == [64 - 1 - 31 - 9, 1, 36 - 4 - 1, 9]
    assert (drawn.covered, drawn.outside, drawn.overlapping) == ((), (), (3,))


def test_a_piece_within_the_hole_of_another_is_kept():
    ring, island = with_hole(box(0, 0, 7, 7), box(1, 1, 6, 6)), box(3, 3, 4, 4)
    drawn = draw_polygons([Region(polygons=(*ring.polygons, *island.polygons))], (7, 7), PATH)
    assert drawn.instance_map.sum() == 49 - 25 + 1


def test_losses_are_noted_and_named():
    regions = [box(1, 1, 3, 3), box(0, 0, 4, 4), box(9, 1, 12, 3), box(5, 5, 7, 7), box(6, 6, 8, 8)]
    with collect() as notes:
        drawn = draw_polygons(regions, (8, 8), PATH)
    assert (drawn.covered, drawn.outside, drawn.overlapping) == ((1,), (3,), (2, 5))
    assert notes == {
        "regions outside the image or smaller than a pixel left out": 1,
        "regions wholly covered by later ones left out": 1,
        "regions drawn over a part of an earlier one": 2,
    }


def test_a_frame_over_everything_is_refused():
    regions = [box(1, 1, 3, 3), box(4, 4, 6, 6), box(0, 0, 8, 8)]
    with pytest.raises(DataError, match=r"outlines.xml: 2 of 3 are regions wholly covered by later ones.*frames"):
        draw_polygons(regions, (8, 8), PATH)


def test_outlines_of_a_slide_are_refused_beside_a_crop():
    draw_polygons([box(-8, -8, 16, 16)], (8, 8), PATH)  # One image beyond on each side
    with pytest.raises(DataError, match=r"outlines.xml: region 2 has a vertex at x = 40000, .*8x8 px.* whole slide"):
        draw_polygons([box(0, 0, 3, 3), box(40000, 20000, 40010, 20010)], (8, 8), PATH)


@pytest.mark.parametrize("wrong", [(1, np.nan), (1, np.inf), (-1e8, 2), (1, 2, 3), (1, "a"), 5])
def test_vertices_that_no_image_has(wrong):
    with pytest.raises(DataError, match=r"a.xml: region 3: a vertex"):
        make_ring([(0, 0), wrong], "a.xml: region 3")


def test_regions_without_area():
    point = Region(polygons=(Polygon(outline=make_ring([(1, 1), (2, 2)], "point")),))
    with collect() as notes:
        kept = with_area([box(0, 0, 2, 2), point], PATH)
    assert [len(region.polygons[0].outline) for region in kept] == [4]
    assert notes == {"regions with fewer than three vertices left out": 1}
    with pytest.raises(DataError, match=r"outlines.xml: 2 of 3 are regions with fewer than three vertices"):
        with_area([box(0, 0, 2, 2), point, point], PATH)


def test_classes_by_name():
    regions = [
        box(0, 0, 2, 2, class_name="Tumour cell"),
        box(2, 2, 4, 4, class_name="?"),
        box(0, 2, 2, 4, class_name="gland"),
    ]
    with collect() as notes:
        kept, classes = classify(regions, {"gland": 1, "tumour-cell": 2}, PATH)
    assert classes == [2, 1]
    assert notes == {"regions of an unknown class left out": 1}
    instance_map = draw_polygons(kept, (4, 4), PATH).instance_map
    assert to_semantic_map(instance_map, classes).tolist() == [[2, 2, 0, 0]] * 2 + [[1, 1, 0, 0]] * 2
    with pytest.raises(
        DataError, match=r"2 of 3 are regions of an unknown class.* '\?', 'gland'; known are tumour-cell"
    ):
        classify(regions, {"tumour-cell": 2}, PATH)


@pytest.mark.parametrize(
    ("name", "classes", "number"),
    [
        ("核", {"腺": 1, "核": 2}, 2),  # No letter of these is Latin.
        ("CD3-", {"CD3+": 1, "CD3-": 2}, 2),
        ("cd3 +", {"CD3+": 1, "CD3-": 2}, 1),
        ("dru\u0308se", {"Drüse": 1, "druse": 2}, 1),
        ("Gland", {"gland": 1, "GLAND": 2, "Gland": 3}, 3),
    ],
)
def test_class_names_are_told_apart_by_all_that_they_consist_of(name, classes, number):
    assert classify([box(0, 0, 2, 2, class_name=name)], classes, PATH)[1] == [number]


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("腺", {"核": 1}),
        ("CD3-", {"CD3+": 1}),
        ("gLand", {"gland": 1, "GLAND": 2}),  # Either may be meant.
        ("", {"?": 1, "-": 2}),
    ],
)
def test_a_class_name_that_may_be_none_or_several_is_unknown(name, classes):
    with pytest.raises(DataError, match="1 of 1 are regions of an unknown class"):
        classify([box(0, 0, 2, 2, class_name=name)], classes, PATH)
