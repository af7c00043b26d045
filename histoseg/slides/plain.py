"""Images without a pyramid, which are read as a whole by the rules of `histoseg.files.images`."""

from pathlib import Path

from histoseg.files.images import read_image
from histoseg.files.notes import collect
from histoseg.files.resolution import stored_mpp
from histoseg.slides.levels import Block, Level
from histoseg.types import Image

BLOCK_PX = 1024


class PlainReader:
    """An image in memory, as a slide of one level."""

    def __init__(self, path: Path) -> None:
        with collect():  # The page is chosen, and noted, once more when the pixels are read.
            self.stored_mpp = stored_mpp(path)
        self._pixels: Image = read_image(path)
        height, width = self._pixels.shape[:2]
        side = {"block_height": BLOCK_PX, "block_width": BLOCK_PX}
        self.levels = [Level(height=height, width=width, scale=1.0, **side)]

    def read_block(self, level: int, row: int, column: int) -> Block:
        if level:
            raise ValueError(f"level {level} of an image that has one")
        top, left = row * BLOCK_PX, column * BLOCK_PX
        return self._pixels[top : top + BLOCK_PX, left : left + BLOCK_PX]

    def close(self) -> None:
        self._pixels = self._pixels[:0]
