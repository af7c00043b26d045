"""Images without a pyramid, which are read as a whole by the rules of `histoseg.files.images`."""

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from histoseg.files.images import read_image
from histoseg.files.notes import collect, note
from histoseg.files.resolution import stored_mpp
from histoseg.slides.levels import Block, Level
from histoseg.types import Image

BLOCK_PX = 1024


@dataclass(frozen=True, kw_only=True)
class _PlainImage:
    """An image, its microns per pixel if it states them, and what reading it left out or changed, and how often."""

    pixels: Image
    mpp: float | None
    notes: Mapping[str, int]


class PlainReader:
    """An image in memory, as a slide of one level."""

    def __init__(self, path: Path, readers: Executor | None = None) -> None:
        image = _read(path) if readers is None else readers.submit(_read, path).result()
        for text, count in image.notes.items():
            note(text, count)
        self.stored_mpp = image.mpp
        self._pixels: Image = image.pixels
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


def _read(path: Path) -> _PlainImage:
    with collect() as notes:
        mpp = stored_mpp(path)
        notes.clear()  # The page is chosen, and noted, once more when the pixels are read.
        return _PlainImage(pixels=read_image(path), mpp=mpp, notes=dict(notes))
