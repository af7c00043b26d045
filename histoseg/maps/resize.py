"""Maps of labels at another resolution: labels are taken, never mixed."""

from typing import TypeVar

import numpy as np
from jaxtyping import Int32, Int64, UInt8

LabelMap = TypeVar("LabelMap", Int32[np.ndarray, "_ _"], UInt8[np.ndarray, "_ _"])


def to_size(label_map: LabelMap, size_px: tuple[int, int]) -> LabelMap:
    """A map of that height and width: each pixel takes the label at its middle, so small objects may vanish."""
    rows, columns = (middles(new, old) for new, old in zip(size_px, label_map.shape, strict=True))
    found: LabelMap = label_map[np.ix_(rows, columns)]
    return found


def middles(new: int, old: int) -> Int64[np.ndarray, " N"]:
    """For each of `new` pixels along a side, in which of `old` pixels its middle lies."""
    return np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.int64), old - 1)
