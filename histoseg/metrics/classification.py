"""Scores of predicted class probabilities, one class against the rest, and their means over classes.

A class that no truth has cannot be scored: it is nan, and left out of the means. A true label that is not a class is a
ValueError.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int64


def average_precision(is_true: Bool[np.ndarray, " N"], scores: Float64[np.ndarray, " N"]) -> float:
    """Sum over thresholds of precision times the gain in recall (Graham et al. 2023, Cerberus, Eq. 8).

    Thresholds are the scores, from the highest down; equal scores pass together. Nothing is interpolated.

    It is nan if nothing is true.
    """
    if not is_true.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    is_last = np.append(np.diff(scores[order]) != 0, True)  # The last of those with equal scores.
    num_found = np.cumsum(is_true[order])[is_last]
    num_passed = np.flatnonzero(is_last) + 1
    recall_gains = np.diff(num_found, prepend=0) / num_found[-1]
    return float((recall_gains * num_found / num_passed).sum())


def average_precision_per_class(
    true: Int64[np.ndarray, " N"], probabilities: Float64[np.ndarray, "N C"]
) -> Float64[np.ndarray, " C"]:
    """Average precision of each class against the rest; nan for a class that no truth has."""
    _refuse_unknown_labels(true, probabilities.shape[1])
    return np.array([average_precision(true == i, scores) for i, scores in enumerate(probabilities.T)], np.float64)


def mean_average_precision(true: Int64[np.ndarray, " N"], probabilities: Float64[np.ndarray, "N C"]) -> float:
    """Mean of average precision over the classes that truth has (Cerberus, Sec. 4.2: mAP); nan without any."""
    return mean_defined(average_precision_per_class(true, probabilities))


def f1_per_class(true: Int64[np.ndarray, " N"], probabilities: Float64[np.ndarray, "N C"]) -> Float64[np.ndarray, " C"]:
    """F1 of each class where the most probable one is predicted; nan for a class that no truth has."""
    return f1_of_labels(true, probabilities.argmax(axis=1), probabilities.shape[1])


def f1_of_labels(
    true: Int64[np.ndarray, " N"], pred: Int64[np.ndarray, " N"], num_classes: int
) -> Float64[np.ndarray, " C"]:
    """F1 of each class from true and predicted classes; nan for a class that no truth has.

    2 Pr Re / (Pr + Re), that is 2 TP / (2 TP + FP + FN). Cerberus, Eq. 9, lacks the factor 2, a misprint: a perfect
    prediction would score 0.5.
    """
    _refuse_unknown_labels(true, num_classes)
    num_true, num_pred, num_right = (
        np.bincount(labels, minlength=num_classes) for labels in (true, pred, true[true == pred])
    )
    return np.where(num_true > 0, 2 * num_right / np.maximum(num_true + num_pred, 1), np.nan)


def mean_f1(true: Int64[np.ndarray, " N"], probabilities: Float64[np.ndarray, "N C"]) -> float:
    """Mean of F1 over the classes that truth has (Cerberus, Sec. 4.2: mF1); nan without any."""
    return mean_defined(f1_per_class(true, probabilities))


def _refuse_unknown_labels(true: Int64[np.ndarray, " N"], num_classes: int) -> None:
    if true.size and not 0 <= true.min() <= true.max() < num_classes:
        raise ValueError(f"truth holds labels {true.min()} to {true.max()}; classes are 0 to {num_classes - 1}")


def mean_defined(values: Float64[np.ndarray, " C"]) -> float:
    """The mean over classes whose score is not nan; nan without any."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")
