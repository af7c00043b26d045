"""Intersection over union of semantic maps: pixels are counted once per image, then averaged in one of three ways.

The three differ by far more than methods do, so a score without its name means nothing. All come from a stack of
confusions, one per image, rows true and columns predicted. The intersection of a class is on the diagonal; its union
is its row plus its column minus the diagonal. Maps of different shapes, labels that are not a class and settings out of
range are a ValueError.
"""

import cv2
import numpy as np
from jaxtyping import Float64, Int64, UInt8

from histoseg.types import IGNORE

# OpenCV returns counts as float32, which holds every integer only up to 2**24: no band has more pixels than that.
BAND_PX = 2**24


def confusion(
    true: UInt8[np.ndarray, "H W"], pred: UInt8[np.ndarray, "H W"], num_classes: int
) -> Int64[np.ndarray, "C C"]:
    """How many pixels of each true class (row) were predicted as each class (column).

    Pixels whose truth is IGNORE are not counted.
    """
    if true.shape != pred.shape:
        raise ValueError(f"truth is {true.shape} but prediction {pred.shape}; they must be of one shape")
    if not 1 <= num_classes <= IGNORE:
        raise ValueError(f"num_classes = {num_classes}: must be within 1 and {IGNORE}")
    if pred.size and (largest := int(pred.max())) >= num_classes:
        raise ValueError(f"prediction holds label {largest}; classes are 0 to {num_classes - 1}")
    counts = np.zeros((num_classes, num_classes), np.int64)
    flat_true, flat_pred = true.ravel(), pred.ravel()
    for start in range(0, true.size, BAND_PX):
        band = slice(start, start + BAND_PX)
        counts += _count_pairs(flat_true[band], flat_pred[band], num_classes)
    if counts.sum() < true.size:
        _refuse_unknown_labels(true, num_classes)
    return counts


def _count_pairs(
    true: UInt8[np.ndarray, " P"], pred: UInt8[np.ndarray, " P"], num_classes: int
) -> Int64[np.ndarray, "C C"]:
    """The joint histogram, without the pixels whose truth is not a class."""
    limits = [0, num_classes, 0, num_classes]
    counts = cv2.calcHist([true, pred], [0, 1], None, [num_classes, num_classes], limits)
    # A histogram of one class by one class comes back as a flat array of one count.
    return np.asarray(counts, np.int64).reshape(num_classes, num_classes)


def _refuse_unknown_labels(true: UInt8[np.ndarray, "H W"], num_classes: int) -> None:
    unknown = true[(true >= num_classes) & (true != IGNORE)]
    if unknown.size:
        raise ValueError(f"truth holds label {unknown.max()}; classes are 0 to {num_classes - 1}, or {IGNORE} (ignore)")


def iou_per_class(confusions: Int64[np.ndarray, "N C C"]) -> Float64[np.ndarray, " C"]:
    """IoU of each class over the pixels of all images; nan where neither truth nor prediction has the class."""
    return _iou(confusions.sum(axis=0))


def miou_pooled(confusions: Int64[np.ndarray, "N C C"]) -> float:
    """Mean over classes of the IoU over all images (Yuan et al. 2022, MetaHistoSeg, Eq. 1): the headline number.

    The paper does not say what a class is worth that neither truth nor prediction has. Its IoU is 0/0, so we leave
    it out of the mean.

    It is nan if no pixel was counted.
    """
    return float(_mean_defined(iou_per_class(confusions)))


def miou_reference(confusions: Int64[np.ndarray, "N C C"]) -> float:
    """Mean over images and classes as the code published with MetaHistoSeg computes it, to compare with its table.

    A class absent from an image's truth scores 0 there and stays in the denominator, so a perfect prediction of an
    image that shows two of four classes scores 0.5. That code knows no ignored pixels; we leave out an image in which
    all are.

    It is nan if no pixel was counted.
    """
    counted = _images_with_pixels(confusions)
    return float(_mean_defined(np.nan_to_num(_iou(counted), nan=0.0).mean(axis=-1)))


def miou_present(confusions: Int64[np.ndarray, "N C C"]) -> float:
    """Mean over images of the mean IoU over the classes that the image's truth shows; nan if no pixel was counted."""
    counted = _images_with_pixels(confusions)
    is_present = counted.sum(axis=-1) > 0
    per_image = _mean_defined(np.where(is_present, _iou(counted), np.nan))
    return float(_mean_defined(per_image))


def majority_miou(confusions: Int64[np.ndarray, "N C C"], majority_class: int) -> float:
    """Pooled mIoU of a predictor that answers `majority_class` everywhere: what a score must beat to mean anything."""
    if not 0 <= majority_class < confusions.shape[-1]:
        raise ValueError(f"majority_class = {majority_class}: must be within 0 and {confusions.shape[-1] - 1}")
    constant = np.zeros_like(confusions)
    constant[:, :, majority_class] = confusions.sum(axis=-1)
    return miou_pooled(constant)


def bootstrap_interval(
    confusions: Int64[np.ndarray, "N C C"], num_draws: int, rng: np.random.Generator, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the pooled mIoU, with images as the unit that is drawn.

    It measures how much the score depends on which images were tested, not on the seed of training.

    Returns:
        Low and high end; nan and nan if there are fewer than two images or no draws.
    """
    if num_draws < 0 or not 0 < level < 1:
        raise ValueError(f"num_draws = {num_draws}, level = {level}: must be 0 or more, and between 0 and 1")
    num_images, num_classes, _ = confusions.shape
    if num_images < 2 or num_draws == 0:
        return float("nan"), float("nan")
    times_drawn = rng.multinomial(num_images, np.full(num_images, 1 / num_images), size=num_draws)
    pooled = (times_drawn @ confusions.reshape(num_images, -1)).reshape(num_draws, num_classes, num_classes)
    scores = _mean_defined(_iou(pooled))
    defined = scores[~np.isnan(scores)]
    if not defined.size:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _images_with_pixels(confusions: Int64[np.ndarray, "N C C"]) -> Int64[np.ndarray, "M C C"]:
    return np.asarray(confusions[confusions.sum(axis=(1, 2)) > 0])


def _iou(confusions: Int64[np.ndarray, "*N C C"]) -> Float64[np.ndarray, "*N C"]:
    shared = np.diagonal(confusions, axis1=-2, axis2=-1)
    union = confusions.sum(axis=-1) + confusions.sum(axis=-2) - shared
    return np.asarray(np.where(union > 0, shared / np.maximum(union, 1), np.nan))


def _mean_defined(values: Float64[np.ndarray, "*N C"]) -> Float64[np.ndarray, "*N"]:
    """Mean over the last axis of what is not nan; nan where everything is."""
    is_defined = ~np.isnan(values)
    num_defined = is_defined.sum(axis=-1)
    total = np.where(is_defined, values, 0.0).sum(axis=-1)
    return np.asarray(np.where(num_defined > 0, total / np.maximum(num_defined, 1), np.nan))
