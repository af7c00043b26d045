"""Patches with boxes: a box stays around its object through every augmentation."""

import numpy as np
import pytest

from histoseg.loaders.augment import BoxAugment
from histoseg.loaders.boxes import divide
from histoseg.runs.config import Data
from histoseg.types import Boxes

DATA = Data(
    patch_px=64,
    scale=(0.8, 1.2),
    stretch=True,
    rotate_deg=180.0,
    shear_deg=5.0,
    brightness=0.0,
    contrast=0.0,
    saturation=0.0,
    hue=0.0,
)


def draw(side=120):
    """White rectangles on black, and their boxes."""
    corners = np.array([[20, 24, 44, 40], [60, 50, 90, 96], [70, 10, 84, 30], [5, 80, 30, 110]], np.float32)
    image = np.zeros((side, side, 3), np.uint8)
    for left, top, right, bottom in corners.astype(int).tolist():
        image[top:bottom, left:right] = 255
    return image, corners


def test_boxes_lie_around_what_they_lay_around():
    """In the patch, white is exactly what lies in a box, to within the interpolated pixel at its edge."""
    image, corners = draw()
    augment, seen = BoxAugment(DATA), 0
    for seed in range(25):
        patch, moved = augment(image, corners, seed)
        bright = patch[..., 0] / 255
        expected = np.zeros((64, 64))
        for box in moved:
            low, high = np.clip(box[:2], 0, 64), np.clip(box[2:], 0, 64)
            if (high > low).all():
                across = (np.minimum(np.arange(1, 65), high[0]) - np.maximum(np.arange(64), low[0])).clip(0, 1)
                down = (np.minimum(np.arange(1, 65), high[1]) - np.maximum(np.arange(64), low[1])).clip(0, 1)
                expected += down[:, None] * across[None]
        seen += expected.sum() > 0
        assert np.abs(bright - expected).max() < 0.65  # A pixel at a corner of a box that grew or shrank by a fifth
        assert bright.sum() == pytest.approx(expected.sum(), rel=0.02, abs=4)
    assert seen > 15


def test_the_same_seed_gives_the_same_patch_and_turns_are_all_drawn():
    image, corners = draw()
    patches = [BoxAugment(DATA)(image, corners, seed) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(patches[0][0], patches[1][0])
    np.testing.assert_array_equal(patches[0][1], patches[1][1])
    assert not np.array_equal(patches[0][1], patches[2][1])
    # The box of 24x16: in half of all patches it is higher than wide.
    sides = [np.subtract(box[2:], box[:2]) for box in (BoxAugment(DATA)(image, corners, i)[1][0] for i in range(40))]
    assert 8 < sum(side[1] > side[0] for side in sides) < 32


def test_an_image_without_boxes():
    patch, moved = BoxAugment(DATA)(draw()[0], np.empty((0, 4), np.float32), 0)
    assert patch.shape == (64, 64, 3)
    assert moved.shape == (0, 4)


def test_boxes_are_shown_hidden_or_left_out():
    """Of boxes of 10x10 a patch of 20x30 shows all, half, a fifth and nothing."""
    corners = [[5, 5, 15, 15], [25, 5, 35, 15], [0, 18, 10, 28], [30, 0, 40, 10]]
    found = Boxes(corners=np.array(corners, np.float32), classes=np.array([1, 2, 3, 4], np.uint8))
    shown, hidden = divide(found, (20, 30))
    assert shown.corners.tolist() == [[5, 5, 15, 15], [25, 5, 30, 15]]
    assert hidden.corners.tolist() == [[0, 18, 10, 20]]
    assert (shown.classes.tolist(), hidden.classes.tolist()) == ([1, 2], [3])
