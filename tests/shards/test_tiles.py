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
