"""Pyramids of JPEG tiles in the layout of Aperio's SVS, written tile by tile: memory does not grow with the slide.

Pages are, as in Aperio's files: the full image in tiles, a thumbnail in strips, the smaller levels in tiles.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image as PillowImage

from histoseg.types import Image

TILE_PX = 256
QUALITY = 80  # Of JPEG; Aperio's own slides have 30 to 85
JPEG = 7  # TIFF's number for tiles that are whole JPEG streams
THUMBNAIL_PX = 1024  # The thumbnail's longer side, at most

TilesOf = Callable[[int], Iterator[bytes]]


@dataclass(frozen=True, kw_only=True)
class Level:
    """A level of a pyramid; its size is that of the slide divided by `downsample`, rounded down."""

    height: int
    width: int
    downsample: int

    @property
    def tiles(self) -> tuple[int, int]:
        """How many rows and columns of tiles cover it."""
        return -(-self.height // TILE_PX), -(-self.width // TILE_PX)


def plan_levels(height: int, width: int, step: int = 4) -> list[Level]:
    """The full image, and levels each `step` times smaller, until one is no more than two tiles long.

    None is more than TILE_PX times smaller, so that a tile of the full image is at least a pixel of each.
    """
    levels = [Level(height=height, width=width, downsample=1)]
    while max(levels[-1].height, levels[-1].width) > 2 * TILE_PX and levels[-1].downsample * step <= TILE_PX:
        factor = levels[-1].downsample * step
        levels.append(Level(height=height // factor, width=width // factor, downsample=factor))
    return [level for level in levels if min(level.height, level.width) > 0]


def encode_tile(image: Image) -> bytes:
    """A tile as a JPEG stream of its own, with colours at half resolution as scanners store them."""
    stream = io.BytesIO()
    PillowImage.fromarray(image).save(stream, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return stream.getvalue()


def write_pyramid(path: Path, levels: list[Level], tiles_of: TilesOf, thumbnail: Image, mpp: float) -> None:
    """Write a slide; `tiles_of(i)` gives the encoded tiles of level i, row by row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    base = levels[0]
    size = f"{base.width}x{base.height}"
    about = f"Aperio Image Library v12.0.0\r\n{size} [0,0 {size}] ({TILE_PX}x{TILE_PX}) JPEG/YCC Q={QUALITY}"
    small = f"Aperio Image Library v12.0.0\r\n{size} -> {thumbnail.shape[1]}x{thumbnail.shape[0]} - "
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for number, level in enumerate(levels):
            text = f"{about}|AppMag = {round(10 / mpp)}|MPP = {mpp:.6g}"
            file.write(
                tiles_of(number),
                shape=(level.height, level.width, 3),
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression=JPEG,
                description=text if number == 0 else f"{about} -> {level.width}x{level.height}",
                metadata=None,
            )
            if number == 0:
                strip = encode_tile(thumbnail)
                file.write(
                    iter([strip]),
                    shape=thumbnail.shape,
                    dtype=np.uint8,
                    rowsperstrip=thumbnail.shape[0],
                    photometric="ycbcr",
                    subsampling=(2, 2),
                    compression=JPEG,
                    description=small,
                    metadata=None,
                )
