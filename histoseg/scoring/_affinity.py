"""What a U-Net gives for the measures of affinity, of all ranks' patches together."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from histoseg import distributed
from histoseg.methods.transfer import Transfer, num_at_once
from histoseg.models.tensors import device_of, to_tensors
from histoseg.models.unet.network import UNet, with_new_heads
from histoseg.representation.pool import pooled
from histoseg.seeds import stream
from histoseg.training.process import Process
from histoseg.types import IGNORE, Batch


def shared_gradient(model: UNet, batch: Batch) -> Float64[np.ndarray, " P"]:
    """The gradient of the mean loss over all ranks' patches by the weights that tasks share, as one vector."""
    model.zero_grad(set_to_none=True)
    Transfer(batch=batch.global_size).backward(model, batch)
    shared = [parameter for name, parameter in model.named_parameters() if not name.startswith("heads.")]
    own = [torch.zeros_like(one) if one.grad is None else one.grad for one in shared]  # A rank may have no patch.
    total = distributed.sum_over_ranks(torch.cat([one.flatten() for one in own]).double())
    model.zero_grad(set_to_none=True)
    return np.asarray(total.cpu().numpy())


@torch.no_grad()
def with_class_means(model: UNet, task: str, num_classes: int, batch: Batch) -> UNet:
    """A copy of the body whose head ranks classes by the distance of a pixel's features from their means.

    Snell et al. 2017, Eq. 8: the logit of a class with mean m is 2 m·f - m·m. A class without a pixel is never likely.
    """
    sums, counts = torch.zeros(num_classes, model.width).double(), torch.zeros(num_classes).double()
    for features, labels in _features(model, batch):
        for name in range(num_classes):
            chosen = features[labels == name].double().cpu()
            sums[name] += chosen.sum(dim=0)
            counts[name] += len(chosen)
    sums, counts = (distributed.sum_over_ranks(part.to(device_of(model))).cpu() for part in (sums, counts))
    means = sums / counts.clamp(min=1)[:, None]
    headed = with_new_heads(model, {task: num_classes}, 0).to(device_of(model)).eval()
    bias = torch.where(counts > 0, -means.square().sum(dim=1), -torch.inf)
    headed.heads[task].get_parameter("weight").copy_(2 * means[:, :, None, None])
    headed.heads[task].get_parameter("bias").copy_(bias)
    return headed


def pooled_of_all(model: UNet, batch: Batch, process: Process) -> Float64[np.ndarray, "N F"]:
    """The pooled features of all ranks' patches, in the order of the step."""
    return _of_all(pooled(model, batch.patches.images), batch.global_size, process)


@torch.no_grad()
def pixels_of_all(
    model: UNet, batch: Batch, count: int, seed: int, process: Process
) -> tuple[Float64[np.ndarray, "N F"], Int64[np.ndarray, " N"]]:
    """Features and labels of `count` random labelled pixels of each of all ranks' patches, fewer where there are."""
    place, number = process.place, 0
    found = np.zeros((len(batch.patches.tasks), count, model.width + 1))
    found[..., -1] = IGNORE
    for features, labels in _features(model, batch):
        for own, classes in zip(features, labels, strict=True):
            rng = stream(seed, place.rank + number * place.world_size)
            labelled = np.flatnonzero(classes.cpu().numpy() != IGNORE)
            chosen = rng.permutation(labelled)[:count]
            at = torch.from_numpy(chosen).to(own.device)
            found[number, : len(chosen), :-1] = own.flatten(0, 1)[at].cpu().numpy()
            found[number, : len(chosen), -1] = classes.flatten()[at].cpu().numpy()
            number += 1
    rows = _of_all(found.reshape(len(found), -1), batch.global_size, process).reshape(-1, model.width + 1)
    known = rows[rows[:, -1] != IGNORE]
    return known[:, :-1], known[:, -1].astype(np.int64)


def _features(model: UNet, batch: Batch) -> Iterator[tuple[Tensor, Tensor]]:
    """Features (B, H, W, channels) and labels (B, H, W) of this rank's patches, a few patches at a time."""
    size = num_at_once(model.width, batch.patches.images.shape[1])
    parts = (to_tensors(part, device_of(model)) for part in batch.patches.parts(size) if part.tasks)
    return ((model.features(images).permute(0, 2, 3, 1), labels) for images, labels in parts)


def _of_all(own: np.ndarray, count: int, process: Process) -> Float64[np.ndarray, "N F"]:
    """The rows of all ranks, of which each has every world-size-th."""
    every = np.zeros((count, own.shape[1]))
    every[process.place.rank :: process.place.world_size] = own
    total: np.ndarray = distributed.sum_over_ranks(torch.from_numpy(every).to(process.device)).cpu().numpy()
    return total
