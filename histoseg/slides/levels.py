"""A slide as levels, and levels as blocks: what a reader of a file format provides."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

Block = UInt8[np.ndarray, "_ _ 3"]  # RGB; smaller than the others at the right and lower edge of a level
WHITE = 255  # What was not scanned is white, as glass is.


@dataclass(frozen=True, kw_only=True)
class Level:
    """One step of a pyramid.

    Attributes:
        height, width: Its size in its own pixels.
        scale: Base pixels along the side of one of its pixels; 1 for the base.
        block_height, block_width: Its blocks lie on a grid of this size; each is decoded as a whole.
    """

    height: int
    width: int
    scale: float
    block_height: int
    block_width: int


@runtime_checkable
class BlockSource(Protocol):
    """The decoded blocks of a slide's levels; several threads may call `read_block`."""

    @property
    def levels(self) -> Sequence[Level]:
        """The levels, the base first, each coarser than the one before."""

    @property
    def stored_mpp(self) -> float | None:
        """Microns per base pixel as the file states it; None if it does not."""

    def read_block(self, level: int, row: int, column: int) -> Block:
        """One block; DataError if it is damaged."""

    def close(self) -> None:
        """Release the file."""


def find_scale(base: tuple[int, int], size: tuple[int, int]) -> float:
    """How many base pixels lie along the side of a pixel of a level with that height and width.

    Scanners make levels a whole number of times smaller and cut or fill the remainder, so that the ratio of the sizes
    is a little off: 56,782 / 14,195 = 4.0001. Where such a number explains both sizes, it is the scale.
    """
    ratio = (base[0] / size[0] + base[1] / size[1]) / 2
    whole = round(ratio)
    if all(abs(full - small * whole) < whole for full, small in zip(base, size, strict=True)):
        return float(whole)
    return ratio
