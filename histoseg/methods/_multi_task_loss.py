"""The loss of a step of Cerberus (Eq. 1) and its gradient: each decoder on the patches of its structure."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from histoseg.models.cerberus.decoders import DROPOUT
from histoseg.models.cerberus.network import Cerberus
from histoseg.models.losses import weighted_cross_entropy_per_image
from histoseg.models.tensors import device_of, to_device
from histoseg.structures import TISSUE
from histoseg.types import MixedBatch


def backward(model: Cerberus, batch: MixedBatch, weights: Mapping[str, float], masked: bool) -> float:
    """Add this rank's share of the gradient; return its share of the loss. The rest are fields of `MultiTask`."""
    features = model.encode(to_device(batch.images, device_of(model)))
    total = features[0].new_zeros((), dtype=torch.float32)
    parts = _by_structure(features, batch)
    for structure, count in batch.counts.items():
        if masked and structure != TISSUE:
            logits = model.decode(features, structure)[batch.owned(structure)]
        else:
            logits = _logits(model, parts[structure], batch, structure)
        total = total + weights.get(structure, 1.0) * _losses(logits, batch, structure).sum() / count
    torch.autograd.backward(total)
    if masked:
        _follow(model, features, batch)
    return float(total.detach())


@torch.no_grad()
def _follow(model: Cerberus, features: list[Tensor], batch: MixedBatch) -> None:
    """Run the heads that have no patch in the step, whose running statistics move as in the published code."""
    for name in model.decoders:
        if name not in batch.counts:
            model.decode(features, name)
    has_square = features[-1].shape[2] >= model.parts.tissue_cells  # Patches may be smaller than those of tissue.
    if model.tissue is not None and TISSUE not in batch.counts and has_square:
        kept = draw_kept(batch.seeds, features[-1].shape[1])
        model.classify([model.middle(features)], to_device(kept, features[-1].device))


def _by_structure(features: list[Tensor], batch: MixedBatch) -> dict[str, list[Tensor]]:
    """The features of each structure's patches; of none, if this rank has no patch of it.

    Split, for the gradient of a slice is as large as all features: zeros but for its own.
    """
    names = tuple(dict.fromkeys((*batch.structures, *batch.counts)))
    sizes = [batch.structures.count(name) for name in names]
    levels = [torch.split(feature, sizes) for feature in features]
    return {name: [level[i] for level in levels] for i, name in enumerate(names)}


def _logits(model: Cerberus, features: list[Tensor], batch: MixedBatch, structure: str) -> Float[Tensor, "B C P Q"]:
    """Logits of a structure's head for that structure's patches, from their features."""
    if structure != TISSUE:
        return model.decode(features, structure)
    kept = draw_kept(batch.seeds[batch.owned(structure)], features[-1].shape[1])
    return model.classify(features, to_device(kept, features[-1].device))


def _losses(logits: Float[Tensor, "B C P Q"], batch: MixedBatch, structure: str) -> Float[Tensor, " B"]:
    """The loss of each of this rank's patches of a structure."""
    own = batch.owned(structure)
    classes = to_device(batch.classes[own], logits.device).long()
    weights = to_device(batch.weights[own], logits.device)
    return weighted_cross_entropy_per_image(logits.float(), classes, weights)


def draw_kept(seeds: tuple[int, ...], num_features: int) -> Bool[np.ndarray, "B F"]:
    """Which features of each patch dropout leaves: by the patch's own stream, on whichever rank it is."""
    drawn = [np.random.default_rng([seed, 1]).random(num_features) >= DROPOUT for seed in seeds]
    return np.stack(drawn) if drawn else np.empty((0, num_features), bool)
