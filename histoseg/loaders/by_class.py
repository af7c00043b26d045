"""Class-weighted sampling: stored samples that hold rare classes are drawn more often.

MetaHistoSeg, Sec. 3.2, names weighted sampling as the remedy for a long tail of classes and gives no formula. Here a
draw "by class" takes one of the classes that occur, each as likely as the others, then a sample in proportion to its
pixels of that class: class-aware sampling (Shen, Lin & Huang 2016) with pixels in place of images. Only a share of the
draws is made so, and the others as without it: every sample can be drawn, also one whose pixels are all unlabelled.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from histoseg.runs.config import require
from histoseg.shards.index import SourceIndex


def require_weighting(value: float) -> None:
    """Refuse a share of draws by class that would leave samples without a labelled pixel out."""
    require(0 <= value < 1, "method.class_weighting", value, "at least 0 (not by class) and below 1")


def shares_by_class(
    class_pixels: Int64[np.ndarray, "N C"], usual: Float64[np.ndarray, " N"], weighting: float
) -> Float64[np.ndarray, " N"]:
    """How likely each stored sample is drawn; the sum is 1.

    Args:
        class_pixels: Pixels of each class in each sample. Of fewer than two classes with pixels, none is rare.
        usual: In proportion to how likely each is drawn otherwise, above 0.
        weighting: The share of draws by class.
    """
    shares: Float64[np.ndarray, " N"] = usual / usual.sum()
    occurring = class_pixels[:, class_pixels.any(axis=0)]
    if occurring.shape[1] < 2:
        return shares
    by_class = (occurring / occurring.sum(axis=0)).mean(axis=1)
    return np.asarray((1 - weighting) * shares + weighting * by_class)


def shares_in_source(index: SourceIndex, rows: Int64[np.ndarray, " N"], weighting: float) -> Float64[np.ndarray, " N"]:
    """How likely each of some rows of a source is drawn, all of which are otherwise as likely."""
    return shares_by_class(index.class_pixels_of(rows), np.ones(len(rows)), weighting)


def class_pixels_by_name(
    indexes: Sequence[SourceIndex], rows: Sequence[Int64[np.ndarray, " _"]]
) -> Int64[np.ndarray, "M C"]:
    """Pixels of each class in some rows of each source, one source after another; classes of one name are one class."""
    names = list(dict.fromkeys(name for index in indexes for name in index.task.classes))
    parts = []
    for index, chosen in zip(indexes, rows, strict=True):
        part = np.zeros((len(chosen), len(names)), np.int64)
        part[:, [names.index(name) for name in index.task.classes]] = index.class_pixels_of(chosen)
        parts.append(part)
    return np.concatenate(parts)
