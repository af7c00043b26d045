"""Pairs of views are of one place."""

import numpy as np

from histoseg.loaders.views import REGION, draw_region

IMAGE = np.zeros((60, 80, 3), np.uint8)
IMAGE[..., 0], IMAGE[..., 1] = np.mgrid[:60, :80]


def test_a_region_is_a_square_somewhere_in_the_image():
    corners = set()
    for seed in range(400):
        region = draw_region(IMAGE, 50, seed)
        assert region.shape == (50, 50, 3)
        corners.add(tuple(region[0, 0, :2].tolist()))
    assert {top for top, _ in corners} == set(range(11))
    assert {left for _, left in corners} == set(range(31))


def test_of_a_small_image_a_region_is_all():
    assert np.array_equal(draw_region(IMAGE, 100, 0), IMAGE)
    assert draw_region(IMAGE, 70, 0).shape == (60, 70, 3)


def test_two_views_share_more_than_half_of_their_area():
    """By hand: places of a view of side 1 in a region of side 1.25 differ by at most 0.25 on each axis."""
    assert (1 - (REGION - 1)) ** 2 == 0.5625
