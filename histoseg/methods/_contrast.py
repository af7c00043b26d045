"""The loss of SimCLR over the pairs of all ranks, and its gradient."""

import torch
from jaxtyping import Float
from pytorch_metric_learning.losses import NTXentLoss
from torch import Tensor

from histoseg.distributed import differentiable_sum, world_size
from histoseg.models.probe.names import PROJECTION
from histoseg.models.probe.network import Probe
from histoseg.models.tensors import device_of, to_device
from histoseg.representation.pool import average
from histoseg.types import ViewBatch


def backward(model: Probe, batch: ViewBatch, temperature: float) -> float:
    """Add this rank's share of the gradient; return its share of the loss.

    Each pair is told from the pairs of all ranks. The loss is of the whole step, and each rank has it, so their shares
    add up to one.
    """
    device = device_of(model)
    images = torch.cat([to_device(batch.first, device), to_device(batch.second, device)])
    own = model.head(PROJECTION, average(model.encode(images), model.parts.depths))
    places = to_device(batch.numbers, device)
    whole = own.new_zeros((2 * batch.global_size, own.shape[1]))
    whole = whole.index_put((torch.cat([places, places + batch.global_size]),), own)
    loss = nt_xent(differentiable_sum(whole), temperature) / world_size()
    torch.autograd.backward(loss)
    return float(loss.detach())


def nt_xent(embeddings: Float[Tensor, "V D"], temperature: float) -> Float[Tensor, ""]:
    """The normalised temperature-scaled cross-entropy of Chen et al. 2020 (SimCLR), Eq. 1, averaged over all views.

    Rows i and i + V / 2 are the two views of one place.
    """
    half = len(embeddings) // 2
    labels = torch.arange(half, device=embeddings.device).repeat(2)
    loss: Tensor = NTXentLoss(temperature=temperature)(embeddings, labels)
    return loss
