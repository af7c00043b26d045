"""Patches about the middle of objects, and side by side."""

import numpy as np
import pytest

from histoseg.maps.objects import find_objects
from histoseg.representation.patches import cut_patches, grid_centres

ROWS, COLUMNS = np.mgrid[:10, :12]
IMAGE = np.stack([ROWS, COLUMNS, np.zeros((10, 12))], axis=2).astype(np.uint8)  # Red is the row, green the column.


def test_the_pixel_of_the_centre_is_in_the_middle():
    """By hand: a centre of (x 5.4, y 4.5) lies in pixel (5, 5), as 4.5 is where pixels 4 and 5 meet."""
    (patch,) = cut_patches(IMAGE, np.array([[5.4, 4.5]]), 4)
    assert patch[2, 2].tolist() == [5, 5, 0]
    assert patch[..., 0].tolist() == [[row] * 4 for row in (3, 4, 5, 6)]
    assert patch[0, :, 1].tolist() == [3, 4, 5, 6]


def test_a_patch_is_about_the_middle_of_its_object():
    instance_map = np.zeros((10, 12), np.int32)
    instance_map[3:6, 6:9] = 7  # Its middle pixel is row 4, column 7.
    (patch,) = cut_patches(IMAGE, find_objects(instance_map).centroids, 3)
    assert patch[1, 1].tolist() == [4, 7, 0]


def test_beyond_the_border_the_image_is_mirrored():
    """About its outermost pixels, as NumPy pads."""
    padded = np.pad(IMAGE, ((8, 8), (8, 8), (0, 0)), mode="reflect")
    for x, y in ((0, 0), (11, 9), (11, 0), (3, 9)):
        (patch,) = cut_patches(IMAGE, np.array([[x, y]], float), 8)
        assert np.array_equal(patch, padded[y + 4 : y + 12, x + 4 : x + 12])


def test_without_objects_there_are_no_patches():
    assert cut_patches(IMAGE, np.zeros((0, 2)), 8).shape == (0, 8, 8, 3)


def test_patches_of_a_grid_show_each_pixel_once():
    patches = cut_patches(IMAGE, grid_centres(10, 12, 4), 4)
    assert len(patches) == 3 * 3
    rebuilt = patches.reshape(3, 3, 4, 4, 3).transpose(0, 2, 1, 3, 4).reshape(12, 12, 3)
    assert np.array_equal(rebuilt[:10], IMAGE)


@pytest.mark.parametrize("bad", [np.zeros((10, 12, 4), np.uint8), np.zeros((10, 12, 3), np.float32)])
def test_other_images_are_refused(bad):
    with pytest.raises(TypeError):
        cut_patches(bad, np.zeros((1, 2)), 8)
