"""Losses whose shares of a batch add up, however the batch is divided among ranks."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from histoseg.distributed import differentiable_sum, sum_over_ranks
from histoseg.types import IGNORE

DICE_EPSILON = 1e-3  # The published code's; Cerberus, Eq. 4, gives no value.


def cross_entropy_per_image(
    logits: Float[Tensor, "B C H W"], semantic_maps: Int64[Tensor, "B H W"]
) -> Float[Tensor, " B"]:
    """Each image's cross-entropy, averaged over its labelled pixels; 0 for an image without any."""
    losses = nn.functional.cross_entropy(logits, semantic_maps, ignore_index=IGNORE, reduction="none")
    labelled = (semantic_maps != IGNORE).sum(dim=(1, 2)).clamp(min=1)
    return torch.as_tensor(losses.sum(dim=(1, 2)) / labelled)


def weighted_cross_entropy_per_image(
    logits: Float[Tensor, "B C H W"], classes: Int64[Tensor, "B H W"], weights: Float[Tensor, "B H W"]
) -> Float[Tensor, " B"]:
    """Each image's mean over pixels of cross-entropy times weight, as of the original U-Net (Cerberus, Sec. 3.2.2)."""
    losses = nn.functional.cross_entropy(logits, classes, reduction="none")
    return torch.as_tensor((losses * weights).mean(dim=(1, 2)))


def subtyping_loss(
    logits: Float[Tensor, "B C H W"],
    types: Int64[Tensor, "B H W"],
    class_weights: tuple[float, ...] = (),
    *,
    masked: bool = True,
    dice: bool = True,
) -> Float[Tensor, ""]:
    """Masked cross-entropy plus masked Dice (Cerberus, Eqs. 2 to 4) over the step's foreground pixels of all ranks.

    Background (0) and IGNORE are masked. Eq. 4 prints a sum of prediction and truth in its numerator, which would make
    it constant; here it is their product. It also sums over a class's own pixels, where a false positive would cost
    nothing; here, as in the published code, over all foreground pixels.

    With `class_weights`, of the classes from 1 on, the cross-entropy is that of the published code: each pixel's times
    the weight of its class, that of background being 0, and the mean over all pixels.

    Not masked, background is one more class of both, of weight 1; without `dice` there is cross-entropy alone. Table 7
    has both by name only.
    """
    first = 1 if masked else 0
    counted: Bool[Tensor, "B H W"] = (types >= first) & (types != IGNORE)
    chosen = types[counted]
    log_p = nn.functional.log_softmax(logits.permute(0, 2, 3, 1)[counted], dim=1)
    truth = nn.functional.one_hot(chosen, logits.shape[1]).to(log_p.dtype)
    p = log_p.exp()
    sums = torch.stack([truth.sum(0), (truth * log_p).sum(0), (truth * p).sum(0), p.sum(0)])
    pixels, log_likelihood, shared, predicted = differentiable_sum(sums)[:, first:]
    if class_weights:
        every = sum_over_ranks(torch.tensor(float(types.numel()), device=logits.device))
        weights = torch.tensor(class_weights if masked else (1.0, *class_weights), device=logits.device)
        cross_entropy = -(log_likelihood * weights).sum() / every
    else:
        cross_entropy = -(log_likelihood / pixels.clamp(min=1)).sum()
    if not dice:
        return torch.as_tensor(cross_entropy)
    overlap = (2 * shared + DICE_EPSILON) / (pixels + predicted + DICE_EPSILON)
    return torch.as_tensor(cross_entropy + (1 - overlap).sum())
