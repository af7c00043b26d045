"""The loss of HoVer-Net (Graham et al. 2019, Sec. 3.1.2): six terms, of all pixels of a step on all ranks.

| branch | terms |
|---|---|
| np | cross-entropy, and Dice summed over nucleus and background |
| hv | mean squared error, which counts `distance_weight`, and that of slopes within nuclei |
| tp | cross-entropy, and Dice summed over classes, background among them |

Pixels that are not labelled count nowhere, those of objects without a class not in "tp"; the paper has none.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from histoseg.distributed import differentiable_sum, world_size
from histoseg.models.losses import DICE_EPSILON
from histoseg.models.tensors import to_device
from histoseg.types import IGNORE, MixedBatch

SOBEL_PX = 5  # Of the loss' gradients; the published code's. It adds as many zeros at the border as a kernel needs.


def loss_of(found: dict[str, Tensor], batch: MixedBatch, distance_weight: float) -> Float[Tensor, ""]:
    """This rank's share of the loss of a step: each rank has all of it, so their shares are equal."""
    found = {name: value.to(torch.promote_types(value.dtype, torch.float32)) for name, value in found.items()}
    device = found["np"].device
    classes, types = (to_device(each, device).long() for each in (batch.classes, batch.types))
    is_known = to_device(batch.weights, device) > 0
    sums = [_classified(found["np"], classes, is_known)]
    if "tp" in found:
        sums.append(_classified(found["tp"], types, types != IGNORE))
    maps = _regressed(found["hv"], to_device(batch.maps, device).to(found["hv"].dtype), classes, is_known)
    totals = differentiable_sum(torch.cat([maps, *sums]))
    pixels, squares, nuclear, slopes = totals[:4].unbind()
    loss = distance_weight * squares / (2 * pixels).clamp(min=1) + slopes / (2 * nuclear).clamp(min=1)
    first = 4
    for part in sums:
        loss = loss + _entropy_and_dice(totals[first : first + len(part)])
        first += len(part)
    return torch.as_tensor(loss / world_size())


def _classified(
    logits: Float[Tensor, "B C P Q"], classes: Int64[Tensor, "B P Q"], is_known: Bool[Tensor, "B P Q"]
) -> Float[Tensor, " N"]:
    """What cross-entropy and Dice are made of: pixels, log-likelihood; by class what is true, predicted, and both."""
    log_p = nn.functional.log_softmax(logits.permute(0, 2, 3, 1)[is_known], dim=1)
    truth = nn.functional.one_hot(classes[is_known], logits.shape[1]).to(log_p.dtype)
    p = log_p.exp()
    pixels = log_p.new_full((1,), float(len(log_p)))
    return torch.cat([pixels, (truth * log_p).sum()[None], truth.sum(0), p.sum(0), (truth * p).sum(0)])


def _entropy_and_dice(sums: Float[Tensor, " N"]) -> Float[Tensor, ""]:
    """Cross-entropy averaged over pixels, and the sum over classes of 1 - Dice."""
    true, predicted, shared = sums[2:].chunk(3)
    dice = (2 * shared + DICE_EPSILON) / (true + predicted + DICE_EPSILON)
    return -sums[1] / sums[0].clamp(min=1) + (1 - dice).sum()


def _regressed(
    found: Float[Tensor, "B 2 P Q"],
    true: Float[Tensor, "B 2 P Q"],
    classes: Int64[Tensor, "B P Q"],
    is_known: Bool[Tensor, "B P Q"],
) -> Float[Tensor, "4"]:
    """Pixels and their squared error; pixels of nuclei, and the squared error of slopes there."""
    error = found - true
    is_nuclear = is_known & (classes == 1)
    squares = (error**2).sum(dim=1) * is_known
    slopes = (slopes_of(error) ** 2).sum(dim=1) * is_nuclear
    return torch.stack([is_known.sum().to(error.dtype), squares.sum(), is_nuclear.sum().to(error.dtype), slopes.sum()])


def slopes_of(maps: Float[Tensor, "B 2 P Q"]) -> Float[Tensor, "B 2 P Q"]:
    """The horizontal slope of the horizontal map, and the vertical one of the vertical map.

    The published code means the same, but takes the other direction of each map: in TensorFlow by the order of its
    channels, in PyTorch as `meshgrid` counts rows first there.
    """
    half = SOBEL_PX // 2
    steps = torch.arange(-half, half + 1, dtype=maps.dtype, device=maps.device)
    squared = steps[None] ** 2 + steps[:, None] ** 2
    across = steps[None] / squared.clamp(min=1)  # 0 in the middle
    kernels = torch.stack([across, across.T])[:, None]
    return nn.functional.conv2d(maps, kernels, padding=half, groups=2)
