"""Pixels of a level as pixels of another size, each computed for its own place alone.

The pixel i of the new grid covers the old pixels from i * ratio to (i + 1) * ratio. Where it is larger than an old one
it is their mean, each weighted by the area it has in it; where it is smaller, it is interpolated by cubic convolution
(Keys 1981, with a = -0.75 as in OpenCV): the filters by which training images are resampled, but for rounding. Sums are
kept as 32-bit floats in both directions and rounded once, so the size of a step does not matter.

No pixel depends on which others are computed with it: a part of an image is, bit by bit, that part of the whole.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import scipy.sparse
from jaxtyping import UInt8

SHARPNESS = -0.75  # Of cubic convolution


@dataclass(frozen=True, kw_only=True)
class Weights:
    """How new pixels along one axis are made of the old ones from `start` to `stop`."""

    start: int
    stop: int
    matrix: scipy.sparse.csr_matrix


def weigh(start: int, stop: int, ratio: float, length: int) -> Weights:
    """The weights of the new pixels from `start` to `stop`, on an axis of `length` old pixels.

    Beyond the last old pixel, that pixel continues.
    """
    new = np.arange(start, stop, dtype=np.float64)
    old, weights = _areas(new, ratio, length) if ratio > 1 else _cubic(new, ratio)
    old = old.clip(0, length - 1)
    first, last = int(old.min()), int(old.max()) + 1
    rows = np.repeat(np.arange(len(new)), old.shape[1])
    kept = weights.ravel() != 0
    entries = weights.ravel()[kept].astype(np.float32), (rows[kept], old.ravel()[kept] - first)
    return Weights(start=first, stop=last, matrix=scipy.sparse.csr_matrix(entries, shape=(len(new), last - first)))


def _areas(new: np.ndarray, ratio: float, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Old pixels under each new one, a row each, and the share of the new pixel that each covers."""
    left = np.minimum(new * ratio, length - 1.0)
    right = np.minimum((new + 1) * ratio, length)
    old = np.floor(left).astype(np.int64)[:, None] + np.arange(math.ceil(ratio) + 1)
    covered = np.minimum(old + 1, right[:, None]) - np.maximum(old, left[:, None])
    weights = covered.clip(0)
    return old, weights / weights.sum(axis=1, keepdims=True)


def _cubic(new: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """The four old pixels about the middle of each new one, and their weights (Keys 1981, Eq. 4)."""
    middle = (new + 0.5) * ratio - 0.5
    old = np.floor(middle).astype(np.int64)[:, None] + np.arange(-1, 3)
    x = np.abs(middle[:, None] - old)
    near = (SHARPNESS + 2) * x**3 - (SHARPNESS + 3) * x**2 + 1
    far = SHARPNESS * (x**3 - 5 * x**2 + 8 * x - 4)
    return old, np.where(x <= 1, near, np.where(x < 2, far, 0))


def apply(rows: Weights, columns: Weights, old: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "P Q 3"]:
    """The new pixels, of the old ones between the starts and stops of both weights."""
    height, width = rows.stop - rows.start, columns.stop - columns.start
    down = rows.matrix @ old.reshape(height, width * 3).astype(np.float32)
    sideways = cv2.transpose(down.reshape(-1, width, 3))  # Several times as fast as NumPy's
    across = columns.matrix @ sideways.reshape(width, -1)
    new = (across + 0.5).clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.transpose(new.reshape(len(new), -1, 3)))
