"""The loss of Cellpose (Stringer et al. 2021, Methods; the package's `train._loss_fn_seg`), of all ranks' pixels."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from histoseg.distributed import differentiable_sum, world_size
from histoseg.models.tensors import to_device
from histoseg.types import MixedBatch

FLOW_SCALE = 5.0  # The network predicts flows that are so many times as long.


def loss_of(found: Float[Tensor, "B 3 H W"], batch: MixedBatch) -> Float[Tensor, ""]:
    """This rank's share of the loss of a step: half the squared error of flows, and the cross-entropy of pixels.

    Pixels that are not labelled do not count; Cellpose has none.

    Args:
        found: Flows down and right, and the logit of being in an object.
        batch: This rank's patches.
    """
    found = found.to(torch.promote_types(found.dtype, torch.float32))
    is_known, is_object = (to_device(each, found.device) > 0 for each in (batch.weights, batch.classes))
    flows = FLOW_SCALE * to_device(batch.maps, found.device)
    squares = ((found[:, :2] - flows) ** 2).mean(dim=1)
    entropy = nn.functional.binary_cross_entropy_with_logits(found[:, 2], is_object.to(found.dtype), reduction="none")
    sums = [(each * is_known).sum() for each in (squares, entropy, torch.ones_like(entropy))]
    error, uncertainty, pixels = differentiable_sum(torch.stack(sums)).unbind()
    return (error / 2 + uncertainty) / pixels.clamp(min=1) / world_size()
