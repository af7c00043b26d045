"""Flooding is scikit-image's watershed, pixel by pixel, whatever is equal; filling is scipy's."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.segmentation import watershed

from histoseg.maps import flooding
from histoseg.maps.flooding import flood, label_pieces, without_ties


def draw(seed, height, width, levels, density):
    """Heights of so many levels, 0 for any, and markers of some pixels within pieces of some density."""
    rng = np.random.default_rng(seed)
    heights = rng.random((height, width)).astype(np.float32)
    if levels:
        heights = (np.floor(heights * levels) / levels).astype(np.float32)
    pieces = label_pieces(rng.random((height, width)) < density, 1)
    markers = label_pieces(rng.random((height, width)) < 0.3, 1)
    return heights, markers, pieces


@settings(deadline=None, max_examples=400)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    levels=st.sampled_from([0, 2, 20, 200, 2000]),
    density=st.floats(0.4, 1),
)
def test_flooding_equals_scikit_images_watershed(seed, height, width, levels, density):
    """With few levels most pieces have ties, with many one or none."""
    heights, markers, pieces = draw(seed, height, width, levels, density)
    expected = watershed(-heights, markers, mask=pieces > 0)
    np.testing.assert_array_equal(flood(heights, markers, pieces), expected)


@settings(deadline=None, max_examples=200)
@given(seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([0, 2, 20, 2000]), density=st.floats(0.4, 1))
def test_in_rows_equal_heights_are_taken_in_reading_order(seed, levels, density):
    """All pixels of markers in turn are a little lower than those before; then scikit-image has no choice."""
    heights, markers, pieces = draw(seed, 24, 20, levels, density)
    lower = np.arange(heights.size).reshape(heights.shape) / 2**40 * (markers > 0)
    expected = watershed(-(heights.astype(np.float64) - lower), markers, mask=pieces > 0)
    np.testing.assert_array_equal(flood(heights, markers, pieces, in_rows=True), expected)


@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([2, 20]))
def test_in_rows_pieces_do_not_depend_on_what_lies_beside_them(seed, levels):
    heights, markers, pieces = draw(seed, 24, 20, levels, 0.6)
    whole = flood(heights, markers, pieces, in_rows=True)
    for number in range(1, min(5, pieces.max()) + 1):
        mine = pieces == number
        alone = flood(
            heights, np.where(mine, markers, 0).astype(np.int32), np.where(mine, 1, 0).astype(np.int32), in_rows=True
        )
        np.testing.assert_array_equal(alone[mine], whole[mine])


def test_only_equal_heights_of_different_markers_in_one_piece_are_ties():
    heights, ones = np.array([0.5, 0.7, 0.5], np.float32), np.ones(3, np.int32)
    other = np.array([1, 1, 2], np.int32)
    assert flooding._has_ties(heights, other, ones)
    assert not flooding._has_ties(heights, ones, ones)
    assert not flooding._has_ties(heights, other, other)
    assert not flooding._has_ties(np.array([0.5, 0.7, 0.6], np.float32), other, ones)


@settings(deadline=None, max_examples=200)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 30), width=st.integers(1, 30), density=st.floats(0.1, 0.9))
def test_filling_equals_scipy(seed, height, width, density):
    mask = (np.random.default_rng(seed).random((height, width)) < density).astype(np.uint8)
    expected = ndimage.binary_fill_holes(mask)
    np.testing.assert_array_equal(flooding.fill_holes(mask.copy()) > 0, expected)


def test_breaking_ties_keeps_the_order_of_different_heights():
    """The last pixel, of which most is taken off, is one float above the first, of which nothing is."""
    heights = np.full((20, 20), 0.5, np.float32)
    heights[0, 0] = 0.7
    heights[-1, -1] = np.nextafter(heights[0, 0], np.float32(1))
    exact = without_ties(heights, np.ones(heights.shape, bool))
    assert exact[-1, -1] > exact[0, 0] > exact[0, 1]
    level = without_ties(np.full((20, 20), np.float32(0.7)), np.ones((20, 20), bool)).ravel()
    assert (np.diff(level) < 0).all()
