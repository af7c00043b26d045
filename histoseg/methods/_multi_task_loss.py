"""The loss of a step of Cerberus (Eq. 1) and its gradient: each decoder on the patches of its own structure."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from histoseg.loaders.mixed import TISSUE
from histoseg.losses import weighted_cross_entropy_per_image
from histoseg.methods.cerberus import MultiTask
from histoseg.models.cerberus import DROPOUT, Cerberus
from histoseg.models.tensors import device_of, to_device
from histoseg.types import MixedBatch, Structure


def backward(model: Cerberus, batch: MixedBatch, method: MultiTask) -> float:
    """Add this rank's share of the gradient; return its share of the loss."""
    weights = dict(method.loss_weights)
    features = model.encode(to_device(batch.images, device_of(model)))
    total = features[0].new_zeros((), dtype=torch.float32)
    for structure, count in batch.counts.items():
        losses = _losses(model, features, batch, structure, masked=method.masked)
        total = total + weights.get(structure, 1.0) * losses.sum() / count
    torch.autograd.backward(total)
    return float(total.detach())


def _losses(
    model: Cerberus, features: list[Tensor], batch: MixedBatch, structure: Structure, *, masked: bool
) -> Float[Tensor, " B"]:
    """The loss of each of this rank's patches of a structure."""
    own, device = batch.owned(structure), features[0].device
    classes = to_device(batch.classes[own], device).long()
    weights = to_device(batch.weights[own], device)
    if structure == TISSUE:
        kept = to_device(draw_kept(batch.seeds[own], features[-1].shape[1]), device)
        logits = model.classify([feature[own] for feature in features], kept)
    elif masked:
        logits = model.decode(features, structure)[own]
    else:
        logits = model.decode([feature[own] for feature in features], structure)
    return weighted_cross_entropy_per_image(logits.float(), classes, weights)


def draw_kept(seeds: tuple[int, ...], num_features: int) -> Bool[np.ndarray, "B F"]:
    """Which features of each patch dropout leaves: by the patch's own stream, on whichever rank it is."""
    drawn = [np.random.default_rng([seed, 1]).random(num_features) >= DROPOUT for seed in seeds]
    return np.stack(drawn) if drawn else np.empty((0, num_features), bool)
