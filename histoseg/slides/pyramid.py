"""A slide made of the blocks of its levels: which level serves a resolution, and its regions."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product

import numpy as np

from histoseg.machine import available_cpus
from histoseg.slides.cache import Cache
from histoseg.slides.levels import Block, BlockSource, Level
from histoseg.slides.rescale import apply, weigh
from histoseg.types import MPP_TOLERANCE, Image

Key = tuple[int, int, int]  # A block: its level, row and column
Spread = Callable[[Callable[[Key], None], Iterable[Key]], Iterable[None]]  # `map`, or that of several threads

MOST_THREADS = 8  # That decode for one slide
STEP_PX = 1024  # Pixels of a level that are resampled at once, along a side


@dataclass(frozen=True, kw_only=True)
class About:
    """What is known of a slide beside its pixels; see `histoseg.slides.reader.Slide`."""

    name: str
    address: str
    mpp: float
    notes: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class View:
    """The slide at one resolution.

    Attributes:
        level: The number of the level that is read.
        ratio: That level's pixels along the side of a pixel here; 1 takes them as they are.
        scale: Base pixels along the side of a pixel here.
    """

    level: int
    ratio: float
    scale: float
    height: int
    width: int


class PyramidSlide:
    """A `histoseg.slides.reader.Slide` of the blocks of any file."""

    def __init__(self, source: BlockSource, about: About, release: Callable[[], None], cache_bytes: int) -> None:
        self.name, self.address, self.mpp, self.notes = about.name, about.address, about.mpp, about.notes
        self.size_px = (source.levels[0].height, source.levels[0].width)
        self._source, self._release = source, release
        self._blocks: Cache[Block] = Cache(cache_bytes)
        self._pool = ThreadPoolExecutor(min(available_cpus(), MOST_THREADS), "histoseg-slide")

    def size_at(self, mpp: float) -> tuple[int, int]:
        view = self._view_at(mpp)
        return view.height, view.width

    def scale_at(self, mpp: float) -> float:
        return self._view_at(mpp).scale

    def mpp_at(self, mpp: float) -> float:
        return self.mpp * self.scale_at(mpp)

    def read(self, top: int, left: int, height: int, width: int, mpp: float) -> Image:
        view = self._view_at(mpp)
        is_inside = 0 <= top < top + height <= view.height and 0 <= left < left + width <= view.width
        if not is_inside:
            box = f"{width} x {height} pixels at x = {left}, y = {top}"
            raise ValueError(f"{self.address}: {box} do not lie within {view.width} x {view.height} at {mpp:g} µm/px")
        return self._read_view(view, top, left, height, width)

    def read_thumbnail(self, max_px: int) -> Image:
        view = self._view(max(1.0, max(self.size_px) / max_px))
        return self._read_view(view, 0, 0, view.height, view.width)

    def close(self) -> None:
        self._pool.shutdown()
        self._blocks.clear()
        self._release()

    def __enter__(self) -> "PyramidSlide":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _view_at(self, mpp: float) -> View:
        """How a resolution is read: a level as it is if it has that resolution, or nearly so; else one resampled."""
        if not mpp > 0:
            raise ValueError(f"{mpp} microns per pixel; give a positive number")
        near = [abs(self.mpp * level.scale / mpp - 1) for level in self._source.levels]
        number = near.index(min(near))
        if near[number] > MPP_TOLERANCE:
            return self._view(mpp / self.mpp)
        level = self._source.levels[number]
        return View(level=number, ratio=1.0, scale=level.scale, height=level.height, width=level.width)

    def _view(self, scale: float) -> View:
        """The slide in pixels of so many base pixels, of the coarsest level that is at least as fine."""
        levels = self._source.levels
        number = max((i for i, level in enumerate(levels) if level.scale <= scale), default=0)
        height, width = (max(1, round(side / scale)) for side in self.size_px)
        return View(level=number, ratio=scale / levels[number].scale, scale=scale, height=height, width=width)

    def _read_view(self, view: View, top: int, left: int, height: int, width: int) -> Image:
        if view.ratio == 1:
            return self._read_level(view.level, (top, left, height, width), self._pool.map)
        level = self._source.levels[view.level]
        step = max(1, min(STEP_PX, int(STEP_PX / view.ratio)))
        region = np.empty((height, width, 3), np.uint8)
        rows = {
            y: weigh(top + y, top + min(height, y + step), view.ratio, level.height) for y in range(0, height, step)
        }
        columns = {
            x: weigh(left + x, left + min(width, x + step), view.ratio, level.width) for x in range(0, width, step)
        }

        def fill(corner: tuple[int, int]) -> None:
            down, across = rows[corner[0]], columns[corner[1]]
            box = down.start, across.start, down.stop - down.start, across.stop - across.start
            new = apply(down, across, self._read_level(view.level, box, map))
            region[corner[0] : corner[0] + step, corner[1] : corner[1] + step] = new

        list(self._pool.map(fill, product(rows, columns)))
        return region

    def _read_level(self, number: int, box: tuple[int, int, int, int], spread: Spread) -> Image:
        """A box of a level, as top, left, height and width; `spread` calls a function for each of its blocks."""
        level, (top, left, height, width) = self._source.levels[number], box
        region = np.empty((height, width, 3), np.uint8)

        def place(key: Key) -> None:
            _, row, column = key
            block = self._blocks.get(key, lambda: self._source.read_block(*key))
            y, x = row * level.block_height - top, column * level.block_width - left
            part = block[max(0, -y) : height - y, max(0, -x) : width - x]
            y, x = max(0, y), max(0, x)
            region[y : y + part.shape[0], x : x + part.shape[1]] = part

        keys = [(number, row, column) for row, column in product(*_blocks_under(level, box))]
        lacking = sum(not self._blocks.holds(key) for key in keys)
        list((spread if lacking > 1 else map)(place, keys))  # Threads are only of use for decoding.
        return region


def _blocks_under(level: Level, box: tuple[int, int, int, int]) -> tuple[range, range]:
    """The rows and the columns of blocks that a box meets."""
    top, left, height, width = box
    rows = range(top // level.block_height, -(-(top + height) // level.block_height))
    return rows, range(left // level.block_width, -(-(left + width) // level.block_width))
