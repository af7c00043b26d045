"""Label maps as runs of equal pixels in a row: there are far fewer runs than pixels, so they take less time."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Int64

from histoseg.types import InstanceMap


@dataclass(frozen=True, kw_only=True)
class Runs:
    """All runs of a map, row by row; none goes on in the next row.

    Attributes:
        starts: Where each begins in the flattened map.
        lengths: In pixels.
        labels: What its pixels are labelled with.
        width: Of the map.
    """

    starts: Int64[np.ndarray, " R"]
    lengths: Int64[np.ndarray, " R"]
    labels: Int32[np.ndarray, " R"]
    width: int

    def count_pixels(self, count: int) -> Int64[np.ndarray, " N"]:
        """The pixels of each label from 0 to `count` - 1."""
        return np.asarray(np.bincount(self.labels, self.lengths, count).astype(np.int64))

    def find_boxes(self, count: int) -> Int32[np.ndarray, "N 4"]:
        """Top, left, bottom and right of each label from 0 to `count` - 1.

        Bottom and right are the first row and column beyond. All four are 0 for the background, which is 0, and for a
        label that no pixel has.
        """
        is_object = self.labels > 0
        labels, lengths = self.labels[is_object].astype(np.intp), self.lengths[is_object]
        rows, lefts = np.divmod(self.starts[is_object], max(1, self.width))
        top, left, bottom, right = np.zeros((4, count), np.int64)
        top[labels[::-1]] = rows[::-1]  # Of several values for one place, the last stays.
        left[labels] = self.width
        np.minimum.at(left, labels, lefts)
        bottom[labels] = rows + 1
        np.maximum.at(right, labels, lefts + lengths)
        return np.stack([top, left, bottom, right], axis=1).astype(np.int32)


def find_runs(label_map: InstanceMap) -> Runs:
    """The runs of a map, of the background too."""
    flat = label_map.ravel()
    is_start = np.empty(label_map.shape, bool)
    is_start[:, :1] = True
    np.not_equal(label_map[:, 1:], label_map[:, :-1], out=is_start[:, 1:])
    starts = np.flatnonzero(is_start)
    lengths = np.diff(starts, append=flat.size)
    return Runs(starts=starts, lengths=lengths, labels=flat[starts].astype(np.int32), width=label_map.shape[1])
