"""Scanners' own formats, read by OpenSlide: NDPI, MIRAX, Philips, Leica, Ventana, Zeiss, DICOM and the rest.

A block is made of whole tiles of the file, so that each is decoded once.
"""

from pathlib import Path

import numpy as np

from histoseg.errors import ConfigError, DataError
from histoseg.files.images import over_white
from histoseg.files.resolution import credible_mpp
from histoseg.slides.levels import Block, Level, find_scale

APERIO = "aperio"  # Of these the tiles are as in any TIFF.
BLOCK_PX, MOST_PX = 512, 2048  # A block's side: at least, of whole tiles; and where a file's tiles are larger
# OpenSlide keeps decoded tiles itself, of use where tiles overlap, as MIRAX' do.
CACHE_BYTES = 64 * 2**20


def vendor_of(path: Path) -> str:
    """The scanner's format that a file has, as OpenSlide calls it; empty if it knows none.

    TIFF that is no scanner's is not among them: OpenSlide cuts 16 bits to the upper 8, whatever they mean.

    Raises:
        ConfigError: If OpenSlide is not installed.
    """
    try:
        import openslide
    except ImportError as error:
        raise ConfigError(f"{error}: slides need more packages; pip install 'histoseg[train]'") from error
    vendor = openslide.OpenSlide.detect_format(path)
    return "" if vendor in (None, "generic-tiff") else str(vendor)


class OpenSlideReader:
    """A slide opened by OpenSlide, whose functions threads may call together."""

    def __init__(self, path: Path, address: str) -> None:
        import openslide

        self._address = address
        try:
            self._slide = openslide.OpenSlide(path)
            self._slide.set_cache(openslide.OpenSlideCache(CACHE_BYTES))
        except openslide.OpenSlideError as error:
            raise _damaged(address, "not a readable slide", error) from error
        self._downsamples = self._slide.level_downsamples
        self.levels = [self._level(number) for number in range(self._slide.level_count)]
        sides = [self._number(openslide.PROPERTY_NAME_MPP_X), self._number(openslide.PROPERTY_NAME_MPP_Y)]
        self.stored_mpp = credible_mpp(sides[0], sides[1]) if all(sides) else None

    def read_block(self, level: int, row: int, column: int) -> Block:
        import openslide

        about = self.levels[level]
        top, left = row * about.block_height, column * about.block_width
        size = min(about.block_width, about.width - left), min(about.block_height, about.height - top)
        begin = round(left * self._downsamples[level]), round(top * self._downsamples[level])
        try:
            values = np.asarray(self._slide.read_region(begin, level, size))
        except openslide.OpenSlideError as error:
            where = f"the region of {size[0]} x {size[1]} pixels at x = {left}, y = {top} of level {level}"
            raise _damaged(self._address, f"{where} cannot be read", error) from error
        colours, alpha = np.ascontiguousarray(values[:, :, :3]), values[:, :, 3]
        return colours if alpha.min() == 255 else over_white(colours, alpha)

    def close(self) -> None:
        self._slide.close()

    def _level(self, number: int) -> Level:
        width, height = self._slide.level_dimensions[number]
        base = self._slide.dimensions
        sides = [self._number(f"openslide.level[{number}].tile-{side}") for side in ("height", "width")]
        return Level(
            height=height,
            width=width,
            scale=find_scale((base[1], base[0]), (height, width)),
            block_height=_block_side(int(sides[0])),
            block_width=_block_side(int(sides[1])),
        )

    def _number(self, name: str) -> float:
        """A property; 0 if there is none."""
        try:
            return float(self._slide.properties.get(name, 0))
        except ValueError:
            return 0.0


def _block_side(tile_px: int) -> int:
    return BLOCK_PX if not 0 < tile_px <= MOST_PX else tile_px * -(-BLOCK_PX // tile_px)


def _damaged(address: str, what: str, error: Exception) -> DataError:
    return DataError(f"{address}: {what} ({' '.join(str(error).split())}); fetch the file again")
