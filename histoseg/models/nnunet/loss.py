"""The loss of nnU-Net (Isensee et al. 2021): cross-entropy plus soft Dice, at several sizes of the prediction.

Both are of all patches of a step together, on whichever ranks these are: Dice of the whole batch is nnU-Net's choice
in 2D. So ranks add up the sums that they are made of, and each has the loss of the whole step.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from histoseg.distributed import differentiable_sum
from histoseg.models.nnunet.targets import BORDER, CORE, NUM_CLASSES

DICE_EPSILON = 1e-5  # Published code
LEARNT = slice(CORE, BORDER + 1)  # Dice leaves the background out, as published.


def level_weights(num_stages: int) -> list[float]:
    """What the loss counts at each size, the largest first: 1, 1/2, 1/4, ..., the lowest left out; the sum is 1.

    There is a prediction at every size but the encoder's smallest one.
    """
    weights = [0.5**level for level in range(max(1, num_stages - 2))]
    return [weight / sum(weights) for weight in weights]


def losses_of_step(
    logits: Sequence[Sequence[Float[Tensor, "_ 3 _ _"]]],
    classes: Sequence[UInt8[Tensor, "_ _ _"]],
    known: Sequence[Float[Tensor, "_ _ _"]],
) -> Float[Tensor, "S L"]:
    """The loss of each structure at each size, over the patches of all ranks; every rank gets the same.

    Where several sizes are predicted, the truth of the smaller ones is every 2nd, 4th, ... pixel of a row and column.

    Args:
        logits: Of each structure, at each size, the largest first.
        classes: Of each structure's patches.
        known: 1 where the class is known, else 0.
    """
    sums = [
        torch.stack([_sums(found, *_reduced(truth, mask, 2**level)) for level, found in enumerate(levels)])
        for levels, truth, mask in zip(logits, classes, known, strict=True)
    ]
    # One sum for all: ranks that waited for each other in different orders would wait forever.
    total = differentiable_sum(torch.stack(sums))
    cross_entropy, pixels = total[..., 0], total[..., 1]
    shared, predicted, true = (part[..., LEARNT] for part in total[..., 2:].chunk(3, dim=-1))
    dice = (2 * shared + DICE_EPSILON) / (predicted + true + DICE_EPSILON)
    return torch.as_tensor(cross_entropy / pixels.clamp(min=1) + 1 - dice.mean(dim=-1))


def _reduced(classes: Tensor, known: Tensor, step: int) -> tuple[Tensor, Tensor]:
    return classes[:, ::step, ::step].long(), known[:, ::step, ::step]


def _sums(logits: Float[Tensor, "B 3 H W"], classes: Tensor, known: Tensor) -> Float[Tensor, " N"]:
    """Cross-entropy and number of known pixels; then of each class what is shared, predicted and true."""
    log_p = nn.functional.log_softmax(logits, dim=1)
    mask = known.to(log_p.dtype)[:, None]
    truth = nn.functional.one_hot(classes, NUM_CLASSES).permute(0, 3, 1, 2).to(log_p.dtype) * mask
    p = log_p.exp()
    parts = [(truth * p).sum((0, 2, 3)), (p * mask).sum((0, 2, 3)), truth.sum((0, 2, 3))]
    return torch.cat([-(truth * log_p).sum()[None], mask.sum()[None], *parts])
