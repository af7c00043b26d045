"""Classes of pixels or squares of a slide as an image of any size: pyramidal, tiled TIFF whose palette is the colours.

QGIS, Fiji and tifffile show it so. Its resolution is that of its pixels, so a program that reads it lays it over the
slide; its description is JSON with the names. It is written tile by tile, so a map need not fit into memory.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tifffile
from jaxtyping import UInt8, UInt16
from pydantic import BaseModel

from histoseg.maps.colours import to_rgb
from histoseg.store.objects import whole_file

OUTSIDE = "not_segmented"  # The class of what the model did not look at
TILE_PX = 256
UM_PER_CM = 10_000
BIG_BYTES = 2**31  # Before compression; from there on offsets take 64 bits.
ClassMap = UInt8[np.ndarray, "_ _"]
Tiles = Callable[[int], Iterator[ClassMap]]  # Of every n-th pixel, in rows of tiles, see `cut_tiles`


class ClassMapAbout(BaseModel, frozen=True):
    """What the file says of itself.

    Attributes:
        histoseg: What its pixels are: "tissue" by square, or "pixels" by a task.
        classes: By their number in the map.
        colours: As #RRGGBB.
        square_px: Side of a pixel of the map in base pixels of the slide.
        mpp: Microns per base pixel.
    """

    histoseg: str = "tissue"
    classes: tuple[str, ...]
    colours: tuple[str, ...]
    square_px: float
    mpp: float


def write_class_map(path: Path, size_px: tuple[int, int], tiles: Tiles, about: ClassMapAbout) -> None:
    """Write a map of that height and width, then every second pixel of each level, until one tile holds all.

    Raises:
        StorageError: If the file cannot be written; nothing of it is left.
    """
    steps = [1]
    while max(size_px) > TILE_PX * steps[-1]:
        steps.append(2 * steps[-1])
    is_big = size_px[0] * size_px[1] > BIG_BYTES
    with whole_file(path) as part, tifffile.TiffWriter(part, bigtiff=is_big) as tiff:
        for step in steps:
            tiff.write(
                tiles(step),
                shape=tuple(-(-side // step) for side in size_px),
                dtype=np.uint8,
                photometric="palette",
                colormap=_palette(about.colours),
                tile=(TILE_PX, TILE_PX),
                compression="zlib",
                predictor=False,
                subifds=0 if step > 1 else len(steps) - 1,
                subfiletype=1 if step > 1 else 0,
                resolution=(UM_PER_CM / (about.square_px * about.mpp * step),) * 2,
                resolutionunit="CENTIMETER",
                description=None if step > 1 else about.model_dump_json(),
                software=None if step > 1 else "histoseg",
                metadata=None,
            )


def cut_tiles(bands: Iterator[ClassMap]) -> Iterator[ClassMap]:
    """The tiles of a map that comes in bands of some rows each; those at its border are filled up with 0."""
    waiting: ClassMap | None = None
    for band in bands:
        top = 0
        while top < len(band):
            waiting = band[:0] if waiting is None else waiting
            missing = TILE_PX - len(waiting)
            waiting, top = np.concatenate([waiting, band[top : top + missing]]), top + missing
            if len(waiting) == TILE_PX:
                yield from _cut_row(waiting)
                waiting = None
        del band  # Else two were in memory while the next one is made.
    if waiting is not None:
        yield from _cut_row(waiting)


def _cut_row(rows: ClassMap) -> Iterator[ClassMap]:
    for left in range(0, rows.shape[1], TILE_PX):
        tile = np.zeros((TILE_PX, TILE_PX), np.uint8)
        part = rows[:, left : left + TILE_PX]
        tile[: part.shape[0], : part.shape[1]] = part
        yield tile


def _palette(colours: Sequence[str]) -> UInt16[np.ndarray, "3 256"]:
    """Red, green and blue of each class in 16 bits (TIFF 6.0, Sec. 5); black for numbers without a class."""
    palette = np.zeros((3, 256), np.uint16)
    rgb: UInt8[np.ndarray, "C 3"] = np.array([to_rgb(colour) for colour in colours], np.uint8)
    palette[:, : len(colours)] = 257 * rgb.T.astype(np.uint16)
    return palette
