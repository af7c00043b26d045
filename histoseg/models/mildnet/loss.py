"""The loss of MILD-Net (Graham et al. 2019, Eq. 4) but for its weights: cross-entropy of objects and of contours."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from histoseg.models.losses import weighted_cross_entropy_per_image
from histoseg.models.mildnet.units import DROPOUT


def losses_per_image(
    logits: Sequence[Float[Tensor, "B 2 H W"]], classes: UInt8[Tensor, "B H W"], weights: Float[Tensor, "B H W"]
) -> Float[Tensor, " B"]:
    """Each image's mean over pixels of the cross-entropy of objects plus that of contours.

    Args:
        logits: Of objects, then of contours.
        classes: 1 for an object plus 2 for a contour, as in `histoseg.models.mildnet.targets`.
        weights: What each pixel counts.
    """
    parts = [
        weighted_cross_entropy_per_image(found, (classes >> bit & 1).long(), weights.to(found.dtype))
        for bit, found in enumerate(logits)
    ]
    return torch.stack(parts).sum(dim=0)


def draw_kept(seeds: tuple[int, ...], num_channels: int) -> Bool[np.ndarray, "B C"]:
    """Which channels of each patch dropout leaves: by the patch's own stream, on whichever rank it is."""
    drawn = [np.random.default_rng([seed, 1]).random(num_channels) >= DROPOUT for seed in seeds]
    return np.stack(drawn) if drawn else np.empty((0, num_channels), bool)
