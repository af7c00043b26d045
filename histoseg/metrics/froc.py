"""Detected boxes against true ones: the FROC of DigestPath 2019, and average precision.

The challenge (https://digestpath2019.grand-challenge.org/Evaluation/, task 1) takes the recall over all true boxes at
the thresholds where images without any object have 1, 2, 4, 8, 16 and 32 detections each on average, and the mean of
the six. What is found wrongly in images with objects does not count, since where cells crowd not all are annotated.

The page does not say when a detection matches. Here it does as in the code of Sun et al. 2021 (SRPN, Medical Image
Analysis), who state that they follow the challenge's: from the highest score down, at an IoU of 0.3 and more with the
true box that it overlaps most, if no detection before has matched that one.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from histoseg.maps.boxes import box_iou
from histoseg.metrics.classification import average_precision

LEVELS = (1, 2, 4, 8, 16, 32)  # Wrong detections in an image, on average
MIN_IOU = 0.3


def matched_iou(
    true: tuple[Float32[np.ndarray, "N 4"], UInt8[np.ndarray, " N"]],
    found: tuple[Float32[np.ndarray, "M 4"], UInt8[np.ndarray, " M"]],
    min_iou: float = MIN_IOU,
) -> Float32[np.ndarray, " M"]:
    """The IoU of each detection with the true box that it matches; 0 where it matches none.

    Both are corners and classes, detections from the highest score down. Only boxes of one class match.
    """
    overlaps = box_iou(found[0], true[0]) * (found[1][:, None] == true[1][None])
    matched, taken = np.zeros(len(overlaps), np.float32), set()
    for i, row in enumerate(overlaps if overlaps.size else ()):
        best = int(row.argmax())
        if row[best] >= min_iou and best not in taken:
            taken.add(best)
            matched[i] = row[best]
    return matched


def threshold_at(false_scores: Float64[np.ndarray, " N"], num_allowed: int) -> float:
    """The score that at most so many wrong detections exceed; minus infinity if there are no more than that."""
    ordered = np.sort(false_scores)[::-1]
    return float(ordered[num_allowed]) if len(ordered) > num_allowed else -np.inf


def recalls_at_levels(
    scores: Float64[np.ndarray, " N"],
    is_right: Bool[np.ndarray, " N"],
    num_true: int,
    false_scores: Float64[np.ndarray, " F"],
    num_images: int,
    levels: Sequence[int] = LEVELS,
) -> Float64[np.ndarray, " L"]:
    """The share of true boxes found where images have so many wrong detections each on average; nan without true boxes.

    `is_right` says which detections match, `false_scores` are of those that count as wrong, in `num_images` images.
    """
    thresholds = [threshold_at(false_scores, level * num_images) for level in levels]
    found = [np.count_nonzero(is_right & (scores > threshold)) for threshold in thresholds]
    return np.array(found, np.float64) / num_true if num_true else np.full(len(levels), np.nan)


def detection_precision(scores: Float64[np.ndarray, " N"], is_right: Bool[np.ndarray, " N"], num_true: int) -> float:
    """Average precision of detections: as that of classes, but true boxes that are not found count in the recall."""
    if not num_true:
        return float("nan")
    return average_precision(is_right, scores) * np.count_nonzero(is_right) / num_true if is_right.any() else 0.0
