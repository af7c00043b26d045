"""Dice of semantic maps, from the same confusions as IoU: pixels are counted once per image.

Dice of a class is 2 |Y ∩ Ŷ| / (|Y| + |Ŷ|) (Graham et al. 2023, Cerberus, Eq. 5): in a confusion, twice the diagonal
over row plus column. It cannot measure how well neighbouring objects are separated; `panoptic` can.
A label that is not a class is a ValueError.
"""

import numpy as np
from jaxtyping import Float64, Int64

FOREGROUND = 1  # The class that binary segmentation is about.


def dice_pooled(confusions: Int64[np.ndarray, "N C C"], label: int = FOREGROUND) -> float:
    """Dice of one class over the pixels of all images together; nan if neither truth nor prediction has the class."""
    return float(_dice(confusions.sum(axis=0), label))


def dice_per_image_mean(confusions: Int64[np.ndarray, "N C C"], label: int = FOREGROUND) -> float:
    """Mean over images of one class's Dice in each; images in which nothing has the class are left out.

    It is nan if no image has the class in truth or prediction.
    """
    scores = _dice(confusions, label)
    defined = scores[~np.isnan(scores)]
    return float(defined.mean()) if defined.size else float("nan")


def _dice(confusions: Int64[np.ndarray, "*N C C"], label: int) -> Float64[np.ndarray, "*N"]:
    if not 0 <= label < confusions.shape[-1]:
        raise ValueError(f"label = {label}: must be within 0 and {confusions.shape[-1] - 1}")
    total = confusions[..., label, :].sum(axis=-1) + confusions[..., :, label].sum(axis=-1)
    return np.asarray(np.where(total > 0, 2 * confusions[..., label, label] / np.maximum(total, 1), np.nan))
