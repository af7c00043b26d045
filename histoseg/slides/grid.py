"""A slide divided into regions, and regions into windows: every pixel belongs to exactly one of each.

Regions lie on the grid of windows that `MarginWindows.over` would lay over the whole slide, so that a network sees the
same wherever regions end.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from histoseg.maps.windows import MarginWindows, Window, mirrored
from histoseg.types import Image

REGION_PX = 2160  # About so large; three windows of 1024 with the published margin of 152


@dataclass(frozen=True, kw_only=True)
class Region:
    """A part of a slide, in pixels of the resolution that the network sees."""

    row: int
    column: int
    top: int
    left: int
    height: int
    width: int

    @property
    def name(self) -> str:
        """What its results are called."""
        return f"{self.row:04d}-{self.column:04d}"

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The regions of a slide.

    Attributes:
        size_px: Height and width of the slide at the network's resolution.
        windows: How the network sees it.
        unit_px: What the sides of what a window predicts must be multiples of.
        region_px: About how large regions are; they are whole windows.
    """

    size_px: tuple[int, int]
    windows: MarginWindows
    unit_px: int
    region_px: int

    @property
    def window_px(self) -> tuple[int, int]:
        """Height and width of what one window predicts."""
        height, width = (self.windows.inner_px(side, self.unit_px) for side in self.size_px)
        return height, width

    @property
    def step_px(self) -> tuple[int, int]:
        """Height and width of a region that no border cuts."""
        height, width = (max(1, self.region_px // side) * side for side in self.window_px)
        return height, width

    @property
    def counts(self) -> tuple[int, int]:
        """How many regions there are in a column and in a row."""
        rows, columns = (-(-whole // step) for whole, step in zip(self.size_px, self.step_px, strict=True))
        return rows, columns

    def region(self, row: int, column: int) -> Region:
        """One region, cut at the slide's border."""
        (height, width), (step, stride) = self.size_px, self.step_px
        top, left = row * step, column * stride
        return Region(
            row=row,
            column=column,
            top=top,
            left=left,
            height=min(step, height - top),
            width=min(stride, width - left),
        )

    def regions(self) -> list[Region]:
        """All regions, row by row."""
        rows, columns = self.counts
        return [self.region(row, column) for row in range(rows) for column in range(columns)]

    def windows_of(self, region: Region) -> list[Window]:
        """The windows of a region in its own pixels, row by row; the last may reach beyond it."""
        height, width = self.window_px
        return [
            Window(top=top, left=left, height=height, width=width, margin_px=self.windows.margin_px)
            for top in range(0, region.height, height)
            for left in range(0, region.width, width)
        ]

    def read(self, region: Region, read: Callable[[int, int, int, int], Image]) -> Image:
        """The pixels that the windows of a region see: its own, and the margin around; mirrored beyond the slide.

        Args:
            region: One of the regions.
            read: Reads a rectangle of the slide by its top, left, height and width.
        """
        rows, columns = (
            self._seen(start, whole, side, most)
            for start, whole, side, most in zip(
                (region.top, region.left), region.size_px, self.window_px, self.size_px, strict=True
            )
        )
        top, left = int(rows.min()), int(columns.min())
        pixels = read(top, left, int(rows.max()) - top + 1, int(columns.max()) - left + 1)
        return np.asarray(pixels[np.ix_(rows - top, columns - left)])

    def _seen(self, start: int, length: int, window: int, whole: int) -> Int64[np.ndarray, " N"]:
        """The rows or columns of the slide that the windows of a region see, in order."""
        margin = self.windows.margin_px
        covered = -(-length // window) * window
        return mirrored(start - margin, start + covered + margin, whole)
