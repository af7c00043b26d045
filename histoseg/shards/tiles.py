"""Large images divided into tiles, each big enough for any augmented patch; no pixel is scaled or lost."""

import math
from collections.abc import Iterator
from itertools import pairwise

from histoseg.runs.config import Data


def smallest_tile_px(data: Data) -> int:
    """Side of the square that a patch covers at the smallest scale and the largest rotation.

    A patch of side p at scale s covers p / s pixels; turned by a it fits a square (cos a + sin a) times as large, and
    sheared by b one (1 + tan b) times as large.
    """
    angle, shear = math.radians(min(data.rotate_deg, 45)), math.radians(data.shear_deg)
    return math.ceil(data.patch_px / data.scale[0] * (math.cos(angle) + math.sin(angle)) * (1 + math.tan(shear)))


def tile_edges(length_px: int, tile_px: int) -> list[int]:
    """The edges of the tiles along one side: as many tiles as fit, equal in size to within a pixel.

    No tile is smaller than `tile_px` unless the image is; no tile is twice as large.
    """
    count = max(1, length_px // tile_px)
    return [round(i * length_px / count) for i in range(count + 1)]


def tile_boxes(height: int, width: int, tile_px: int) -> Iterator[tuple[int, int, int, int]]:
    """(top, left, height, width) of each tile, row by row."""
    for top, bottom in pairwise(tile_edges(height, tile_px)):
        for left, right in pairwise(tile_edges(width, tile_px)):
            yield top, left, bottom - top, right - left
