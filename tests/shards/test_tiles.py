import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histoseg.runs.config import Data
from histoseg.shards.tiles import smallest_tile_px, tile_boxes, tile_edges


def test_the_papers_patch_needs_1176_pixels():
    # 768 / 0.8 = 960, and a square turned by 15 degrees fits one (cos 15 + sin 15) = 1.2247 times as wide: 1175.8
    assert smallest_tile_px(Data()) == 1176


def test_without_rotation_and_scaling_a_tile_is_a_patch():
    assert smallest_tile_px(Data(patch_px=64, scale=(1.0, 1.2), rotate_deg=0.0)) == 64


@pytest.mark.parametrize("rotate_deg", [45.0, 90.0, 180.0])
def test_a_patch_turned_by_45_degrees_or_more_needs_its_diagonal(rotate_deg):
    assert smallest_tile_px(Data(patch_px=10_000, scale=(1.0, 1.0), rotate_deg=rotate_deg)) == 14_143  # 10,000 √2


def test_a_sheared_patch_needs_its_lean_as_well():
    # 1008 (1 + tan 5°) = 1096.19
    assert smallest_tile_px(Data(patch_px=1008, scale=(1.0, 1.0), rotate_deg=0.0, shear_deg=5.0)) == 1097


def test_tiles_by_hand():
    # 5 // 3 = 1 row of 5 pixels, and 7 // 3 = 2 columns of 4 and 3.
    assert list(tile_boxes(5, 7, 3)) == [(0, 0, 5, 4), (0, 4, 5, 3)]
    assert list(tile_boxes(7, 2, 3)) == [(0, 0, 4, 2), (4, 0, 3, 2)]


def test_gleason_images_become_sixteen_tiles():
    # 5120 // 1176 = 4 along each side, 1280 pixels each
    boxes = list(tile_boxes(5120, 5120, 1176))
    assert len(boxes) == 16
    assert {box[2:] for box in boxes} == {(1280, 1280)}


@given(st.integers(1, 9000), st.integers(1, 3000))
def test_tiles_cover_a_side_once_and_are_large_enough(length, tile):
    edges = tile_edges(length, tile)
    sizes = np.diff(edges)
    assert edges[0] == 0
    assert edges[-1] == length
    assert sizes.min() >= min(length, tile)
    assert sizes.max() < 2 * tile or len(sizes) == 1


@pytest.mark.parametrize("angle", [0, 5, 15])
def test_a_turned_patch_fits_the_tile(angle):
    side = 768 / 0.8
    turned = side * (math.cos(math.radians(angle)) + math.sin(math.radians(angle)))
    assert turned <= smallest_tile_px(Data())
