"""What Otsu's threshold finds in drawn images: dark glands and nuclei, bright lumina, nothing too small."""

import numpy as np
import pytest

from histoseg.metrics.panoptic import count_panoptic
from histoseg.models.otsu import otsu_objects

DARK, BRIGHT = 60, 210


def drawn(corners, side_px, size_px=150, ground=BRIGHT, colour=DARK):
    """An image with squares at some corners, and which pixel belongs to which of them."""
    image, truth = np.full((size_px, size_px + 20, 3), ground, np.uint8), np.zeros((size_px, size_px + 20), np.int32)
    for number, (top, left) in enumerate(corners, start=1):
        image[top : top + side_px, left : left + side_px] = colour
        truth[top : top + side_px, left : left + side_px] = number
    return image, truth


# Squares well above the smallest size of each structure in the published code: 1500, 150 and 8 pixels.
@pytest.mark.parametrize(
    ("structure", "side_px", "ground", "colour"),
    [("gland", 50, BRIGHT, DARK), ("lumen", 20, DARK, BRIGHT), ("nuclei", 8, BRIGHT, DARK)],
)
def test_squares_are_found_one_by_one(structure, side_px, ground, colour):
    image, truth = drawn([(10, 10), (80, 15), (40, 100)], side_px, ground=ground, colour=colour)
    found = otsu_objects(image, structure)
    assert np.unique(found).tolist() == [0, 1, 2, 3]
    counts = count_panoptic(truth, found)
    assert (counts.tp, counts.fp, counts.fn) == (3, 0, 0)
    assert counts.sq > 0.85  # Blurring rounds the corners off.


@pytest.mark.parametrize(("structure", "ground", "colour"), [("gland", DARK, BRIGHT), ("lumen", BRIGHT, DARK)])
def test_the_other_side_of_the_threshold_is_background(structure, ground, colour):
    image, _ = drawn([(50, 60)], 50, ground=ground, colour=colour)
    found = otsu_objects(image, structure)
    assert np.unique(found).tolist() == [0, 1]  # What surrounds the square
    assert not found[60:90, 70:100].any()
    assert found[5, 5] == 1


@pytest.mark.parametrize(("structure", "side_px"), [("gland", 36), ("lumen", 11), ("nuclei", 2)])
def test_pieces_below_the_smallest_size_are_dropped(structure, side_px):
    """36² = 1296, 11² = 121 and 4 pixels; a large piece beside them is found."""
    ground, colour = (DARK, BRIGHT) if structure == "lumen" else (BRIGHT, DARK)
    image, _ = drawn([(8, 8)], side_px, ground=ground, colour=colour)
    image[80:140, 80:140] = colour
    found = otsu_objects(image, structure)
    assert np.unique(found).tolist() == [0, 1]
    assert found[110, 110] == 1
    assert not found[:60, :60].any()


def test_pieces_that_touch_by_a_corner_are_two():
    """Nuclei are blurred by one pixel only, which does not join two corners of large squares."""
    image, _ = drawn([(10, 10), (41, 41)], 30)
    assert otsu_objects(image, "nuclei").max() == 2


def test_grain_finer_than_the_structure_does_not_tear_it():
    """Noise of single pixels, as strong as the contrast, vanishes where glands are blurred by 8 pixels."""
    image, truth = drawn([(40, 40)], 60)
    noise = np.random.default_rng(0).integers(-55, 56, image.shape[:2])
    image = (image.astype(int) + noise[..., None]).astype(np.uint8)
    counts = count_panoptic(truth, otsu_objects(image, "gland"))
    assert (counts.tp, counts.fp, counts.fn) == (1, 0, 0)
