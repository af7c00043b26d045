"""Resampling of slides, against means by hand and OpenCV's filters."""

import cv2
import numpy as np
import pytest

from histoseg.slides.rescale import apply, weigh
from tests.slides.drawn import piece_of_tissue


@pytest.fixture(scope="module")
def image():
    return piece_of_tissue((700, 900), np.random.default_rng(4))


def test_whole_factors_are_means():
    """By hand: each new pixel is the mean of 2 x 2 old ones, halves rounded up."""
    old = np.array([[0, 1, 2, 4], [4, 4, 6, 7]], np.uint8)
    image = np.repeat(np.kron(old, np.ones((1, 1), np.uint8))[:, :, None], 3, axis=2)
    new = apply(weigh(0, 1, 2.0, 2), weigh(0, 2, 2.0, 4), image)
    assert new[:, :, 0].tolist() == [[2, 5]]  # 9 / 4 = 2.25 and 19 / 4 = 4.75


@pytest.mark.parametrize("factor", [1.3, 2.0, 2.199, 3.75])
def test_shrinking_is_opencvs_mean_of_areas(image, factor):
    """OpenCV's INTER_AREA, where the new size makes its factor the same: it takes the ratio of the sizes for it."""
    height, width = 180, 240
    old_height, old_width = round(height * factor), round(width * factor)
    part = np.ascontiguousarray(image[:old_height, :old_width])
    assert part.shape == (old_height, old_width, 3)
    rows = weigh(0, height, old_height / height, old_height)
    columns = weigh(0, width, old_width / width, old_width)
    ours = apply(rows, columns, part[rows.start : rows.stop, columns.start : columns.stop])
    reference = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
    assert np.abs(ours.astype(int) - reference).max() <= 1  # OpenCV rounds halves to even.


def test_growing_is_opencvs_cubic(image):
    part = np.ascontiguousarray(image[:200, :220])
    rows, columns = weigh(0, 500, 0.4, 200), weigh(0, 550, 0.4, 220)
    ours = apply(rows, columns, part)
    reference = cv2.resize(part, (550, 500), interpolation=cv2.INTER_CUBIC)
    assert np.abs(ours.astype(int) - reference).max() <= 1


def test_wrong_types_are_refused():
    weights = weigh(0, 1, 2.0, 2)
    for wrong in (np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3), np.float32)):
        with pytest.raises(Exception, match="UInt8"):
            apply(weights, weights, wrong)
