"""Outlines are seen on dark nuclei and on empty glass alike."""

import cv2
import numpy as np
import pytest

from histoseg.maps.colours import BLACK, CLASS_COLOURS, to_rgb
from histoseg.maps.lines import draw_outline, edge_of, outlines_of

SQUARE = np.array([[[10, 10]], [[40, 10]], [[40, 40]], [[10, 40]]], np.int32)
HAEMATOXYLIN, GLASS = (60, 30, 90), (244, 243, 245)


def grey(colour):
    return cv2.cvtColor(np.array([[colour]], np.uint8), cv2.COLOR_RGB2GRAY)[0, 0].astype(float)


@pytest.mark.parametrize("colour", [*CLASS_COLOURS, BLACK])
@pytest.mark.parametrize("ground", [HAEMATOXYLIN, GLASS])
def test_every_colour_is_seen_on_dark_and_on_light_ground(colour, ground):
    """Line or edge differs from the ground by a third of the range at least, and both are drawn."""
    picture = np.full((50, 50, 3), ground, np.uint8)
    draw_outline(picture, [SQUARE], colour, 1)
    assert np.abs(picture[10, 25].astype(int) - to_rgb(colour)).max() < 30  # Smoothed, the edge shines through.
    assert max(abs(grey(one) - grey(ground)) for one in (to_rgb(colour), edge_of(colour))) > 255 / 3
    assert max(abs(picture[row, 25].astype(int) - ground).max() for row in (9, 11)) > 20  # The edge
    assert (picture[25, 25] == ground).all()


def test_borders_of_a_mask_are_found_with_its_hole():
    mask = np.zeros((20, 20), bool)
    mask[2:18, 2:18] = True
    mask[8:12, 8:12] = False
    outer, inner = sorted(outlines_of(mask), key=len, reverse=True)
    assert (outer.min(), outer.max()) == (2, 17)
    assert (inner.min(), inner.max()) == (7, 12)  # OpenCV gives the pixels of the mask that surround a hole.
    (large,) = outlines_of(mask[:5, :5], zoom=2)
    assert (large.min(), large.max()) == (4, 9)
