"""Orders of places in which neighbours stay close: along a curve by Hilbert (1891), and in compact parts."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64, Int64, Shaped

BITS = 16
CELL_PX = 16  # Smaller than a nucleus; with 2^16 cells along each axis, the curve covers a million pixels.


def hilbert_codes(x: Shaped[np.ndarray, " N"], y: Shaped[np.ndarray, " N"]) -> Int64[np.ndarray, " N"]:
    """Where along the curve each place lies; places in the same cell have the same code.

    From the largest square to the smallest, the number of the quadrant is appended; then the square is turned so that
    its part of the curve looks like the whole (Skilling 2004, "Programming the Hilbert curve", restated for a plane).

    Args:
        x: Pixels, not below 0; places beyond the curve count to its last cells.
        y: As x.
    """
    columns, rows = (np.minimum(values // CELL_PX, 2**BITS - 1).astype(np.int64) for values in (x, y))
    codes = np.zeros(len(columns), np.int64)
    for bit in reversed(range(BITS)):
        right, lower = (columns >> bit) & 1, (rows >> bit) & 1
        codes = (codes << 2) | ((3 * right) ^ lower)
        flipped = np.where((lower == 0) & (right == 1), ~np.stack([columns, rows]), np.stack([columns, rows]))
        columns, rows = np.where(lower == 0, flipped[::-1], flipped)
    return codes


def divide(xy: Shaped[np.ndarray, "2 N"], num_parts: int) -> Iterator[Int64[np.ndarray, " _"]]:
    """Numbers of places in equal parts, each in a box of its own that is about square; none is empty.

    Places are cut into columns, and these into boxes (Leutenegger et al. 1997, "STR: a simple and efficient algorithm
    for R-tree packing"). Parts of a Hilbert curve would have wide boxes where places are a long strip, as regions of a
    slide are that come row by row.
    """
    if not xy.size:
        return
    width, height = np.maximum(np.ptp(xy, axis=1), 1.0)
    num_columns = int(np.clip(round((num_parts * width / height) ** 0.5), 1, num_parts))
    ends = np.rint(np.linspace(0, num_parts, num_columns + 1)).astype(int)  # How many parts there are up to a column
    for column, count in zip(_cut(xy[0], ends / num_parts), np.diff(ends), strict=True):
        for part in _cut(xy[1, column], np.linspace(0, 1, count + 1)):
            if part.size:
                yield column[part]


def _cut(values: Shaped[np.ndarray, " N"], shares: Float64[np.ndarray, " _"]) -> list[Int64[np.ndarray, " _"]]:
    """Numbers of the values in ascending order, cut at these shares of all; the first share is 0 and the last 1."""
    return np.split(np.argsort(values, kind="stable"), np.rint(shares[1:-1] * len(values)).astype(int))
