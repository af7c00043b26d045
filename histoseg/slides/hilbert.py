"""An order of places in which neighbours stay close: along a curve by Hilbert (1891)."""

import numpy as np
from jaxtyping import Int64, Shaped

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
