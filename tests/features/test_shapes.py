"""Shapes of glands: by hand, against scikit-image, and what must not change them."""

import numpy as np
import pytest
import shapely
from shapely import affinity
from skimage.measure import regionprops

from histoseg.features import shapes
from histoseg.features.shapes import ellipse_axes, outline_lengths, shape_columns
from tests.features.drawn import shape_of

MPP = 0.5


def by_name(*drawn):
    found = shape_columns(np.array([*drawn, None], object)[:-1])
    return {feature.name: values for feature, values in found.items()}


def blob(seed, size=140):
    """A wobbly region of one piece, perhaps with a hole."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size] - size / 2
    angle, radius = np.arctan2(rows, columns), np.hypot(rows, columns / rng.uniform(0.6, 1.0))
    edge = size * (0.3 + 0.06 * np.sin(3 * angle + rng.uniform(0, 6)) + 0.04 * np.sin(5 * angle))
    return ((radius < edge) & ~(radius < size * 0.06 * (seed % 2))).astype(np.int32)


def test_a_rectangle_by_hand():
    found = by_name(shapely.box(10, 20, 50, 40))  # 40 x 20 µm
    assert found["area_um2"] == pytest.approx([800])
    # 120 less, at each of four corners, twice 1.5, plus the diagonal of a square of 1.5.
    assert found["perimeter_um"] == pytest.approx([120 + 4 * (1.5 * np.sqrt(2) - 3)])
    assert found["equivalent_diameter_um"] == pytest.approx([2 * np.sqrt(800 / np.pi)])
    # The second moment of a side a is a²/12, and the axis of an ellipse four times its root: 2a / sqrt(3).
    assert found["major_axis_um"] == pytest.approx([80 / np.sqrt(3)])
    assert found["minor_axis_um"] == pytest.approx([40 / np.sqrt(3)])
    assert found["eccentricity"] == pytest.approx([np.sqrt(1 - 0.25)])
    assert found["elongation"] == pytest.approx([2])
    assert found["solidity"] == pytest.approx([1])


def test_an_l_is_less_solid():
    ell = shapely.union_all([shapely.box(0, 0, 20, 10), shapely.box(0, 0, 10, 20)])
    # Its area is 300; the hull adds the triangle with legs of 10 beside the inner corner.
    assert by_name(ell)["solidity"] == pytest.approx([300 / 350])


def test_a_hole_counts_for_area_but_not_for_circularity():
    disc = shapely.Point(0, 0).buffer(50, quad_segs=400)
    ring = disc.difference(shapely.Point(0, 0).buffer(20, quad_segs=400))
    found = by_name(disc, ring)
    assert found["area_um2"] == pytest.approx([np.pi * 2500, np.pi * 2100], rel=1e-4)
    assert found["perimeter_um"] == pytest.approx([100 * np.pi] * 2, rel=1e-4)
    assert found["circularity"] == pytest.approx([1, 1], rel=1e-3)
    # Second moments of a ring: (R² + r²) / 4 along each axis, so axes of 2 sqrt(R² + r²).
    assert found["major_axis_um"] == pytest.approx([100, 2 * np.sqrt(2900)], rel=1e-4)


def test_pieces_add_up():
    two = shapely.multipolygons([shapely.box(0, 0, 10, 10), shapely.box(30, 0, 40, 10)])
    found = by_name(two, shapely.box(0, 0, 10, 10))
    assert found["area_um2"] == pytest.approx([200, 100])
    assert found["perimeter_um"][0] == pytest.approx(2 * found["perimeter_um"][1])
    # Variance along x: 10²/12 within pieces and 15² between them.
    assert found["major_axis_um"][0] == pytest.approx(4 * np.sqrt(100 / 12 + 225))


@pytest.mark.parametrize("seed", range(6))
def test_scikit_image_agrees(seed):
    label_map = blob(seed)
    [judge] = regionprops(label_map)
    found = by_name(shape_of(label_map, 1.0))
    assert found["area_um2"] == pytest.approx([judge.area])
    # It takes pixels as points: a square pixel adds 1/12 to second moments, that is 16/12 to the square of an axis.
    assert np.sqrt(found["major_axis_um"] ** 2 - 16 / 12) == pytest.approx([judge.axis_major_length])
    assert np.sqrt(found["minor_axis_um"] ** 2 - 16 / 12) == pytest.approx([judge.axis_minor_length])
    assert found["eccentricity"] == pytest.approx([judge.eccentricity], rel=1e-3)
    assert found["equivalent_diameter_um"] == pytest.approx([judge.equivalent_diameter_area])
    assert found["solidity"] == pytest.approx([judge.solidity], rel=0.01)  # It counts the pixels of the hull.


def test_a_staircase_does_not_lengthen_the_outline():
    rows, columns = np.mgrid[:300, :300]
    for radius in (10, 40, 120):
        disc = (columns - 150.3) ** 2 + (rows - 149.8) ** 2 <= radius**2
        found = outline_lengths(np.array([shape_of(disc)]), shapes.CORNER_UM)
        assert found == pytest.approx(2 * np.pi * radius * MPP, rel=0.012), radius
    for degrees in (0, 4, 11, 22.5, 37, 45):
        cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        along, across = (columns - 150) * cosine + (rows - 150) * sine, (rows - 150) * cosine - (columns - 150) * sine
        bar = (np.abs(along) <= 100) & (np.abs(across) <= 50)
        found = outline_lengths(np.array([shape_of(bar)]), shapes.CORNER_UM)
        assert found == pytest.approx(600 * MPP, rel=0.015), degrees  # Four corners of 0.9 µm each are missing.


@pytest.mark.parametrize("seed", range(4))
def test_place_and_quarter_turns_change_nothing(seed):
    drawn = shape_of(blob(seed))
    turned = shape_of(np.rot90(blob(seed)))
    moved = affinity.translate(drawn, 30_000, 20_000)
    found = by_name(drawn, turned, moved)
    for name, values in found.items():
        assert values == pytest.approx(values[0], rel=1e-6), name


def test_size_changes_lengths_and_nothing_else():
    drawn = shapely.Point(0, 0).buffer(80).difference(shapely.Point(60, 0).buffer(50))
    found = by_name(drawn, affinity.scale(drawn, 3, 3, origin=(0, 0)))
    powers = {"area_um2": 9, "equivalent_diameter_um": 3, "major_axis_um": 3, "minor_axis_um": 3, "perimeter_um": 3}
    for name, values in found.items():
        tolerance = 0.01 if name in ("perimeter_um", "circularity") else 1e-9  # Corners are cut by the same length.
        assert values[1] / values[0] == pytest.approx(powers.get(name, 1), rel=tolerance), name


def test_the_direction_of_rings_does_not_matter():
    ring = [(0, 0), (30, 0), (30, 10), (0, 10)]
    clockwise, counter = shapely.Polygon(ring), shapely.Polygon(ring[::-1])
    axes = ellipse_axes(np.array([clockwise, counter]))
    assert axes[0][0] == pytest.approx(axes[0][1])
    assert axes[1][0] == pytest.approx(axes[1][1])


def test_no_glands_have_no_shapes():
    assert all(len(values) == 0 for values in by_name().values())


def test_what_is_no_list_of_shapes_is_refused():
    with pytest.raises(Exception, match="shapes"):
        outline_lengths(np.zeros((2, 2)), 1.0)
