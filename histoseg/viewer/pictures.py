"""Tiles of a slide's picture, cut from the slide file itself."""

from dataclasses import dataclass
from pathlib import Path

import cv2

from histoseg.errors import DataError
from histoseg.slides.reader import Slide, open_slide
from histoseg.slides.summary import Summary
from histoseg.viewer.census import TILE_PX

CACHE_BYTES = 64 * 2**20  # Of decoded blocks a slide: what a screen shows, and a little around it
JPEG_QUALITY = 85  # As scanners write their tiles; a second compression at less would show.


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An open slide, which several threads may read at once."""

    slide: Slide

    def tile(self, level: int, column: int, row: int) -> bytes:
        """A JPEG of the tile at a level, where a pixel is 2^level base pixels.

        Raises:
            DataError: If the tile lies outside of the slide.
        """
        mpp = self.slide.mpp * 2**level
        height, width = self.slide.size_at(mpp)
        top, left = row * TILE_PX, column * TILE_PX
        if top >= height or left >= width:
            raise DataError(f"tile {column}, {row} of level {level} lies outside of the slide")
        pixels = self.slide.read(top, left, min(TILE_PX, height - top), min(TILE_PX, width - left), mpp)
        _, body = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        return bytes(body)


def open_picture(summary: Summary, folder: Path | None) -> Picture:
    """The slide that a summary names, or the file of that name in a folder, if one is given.

    Raises:
        DataError: If it cannot be opened, or has another size than when its objects were found.
    """
    address = str(folder / Path(summary.address).name) if folder else summary.address
    if not address:
        raise DataError("summary.json names no slide; its picture cannot be shown")
    if "://" not in address and not Path(address).exists():
        raise DataError(f"{address}: the slide is not there; name the folder where it lies now with --slides")
    slide = open_slide(address, summary.mpp, cache_bytes=CACHE_BYTES)
    height, width = slide.size_px
    if (width, height) != tuple(summary.size_px):
        slide.close()
        found, expected = f"{width} x {height} px", f"{summary.size_px[0]} x {summary.size_px[1]}"
        raise DataError(f"{address}: has {found}, but the objects were found in {expected}; it is another slide")
    return Picture(slide=slide)
