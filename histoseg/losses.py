"""Losses. Each is a mean over images of a mean over pixels, so shares of a batch add up whoever computes them."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from histoseg.types import IGNORE


def cross_entropy_per_image(
    logits: Float[Tensor, "B C H W"], semantic_maps: Int64[Tensor, "B H W"]
) -> Float[Tensor, " B"]:
    """Each image's cross-entropy, averaged over its labelled pixels; 0 for an image without any."""
    losses = nn.functional.cross_entropy(logits, semantic_maps, ignore_index=IGNORE, reduction="none")
    labelled = (semantic_maps != IGNORE).sum(dim=(1, 2)).clamp(min=1)
    return torch.as_tensor(losses.sum(dim=(1, 2)) / labelled)
