"""The patches of a step by structure: their features, and the loss of each."""

import torch
from jaxtyping import Float
from torch import Tensor

from histoseg.models.losses import weighted_cross_entropy_per_image
from histoseg.models.tensors import to_device
from histoseg.types import MixedBatch


def by_structure(features: list[Tensor], batch: MixedBatch) -> dict[str, list[Tensor]]:
    """The features of each structure's patches; of none, if this rank has no patch of it.

    Split, for the gradient of a slice is as large as all features: zeros but for its own.
    """
    names = tuple(dict.fromkeys((*batch.structures, *batch.counts)))
    sizes = [batch.structures.count(name) for name in names]
    levels = [torch.split(feature, sizes) for feature in features]
    return {name: [level[i] for level in levels] for i, name in enumerate(names)}


def losses_of(logits: Float[Tensor, "B C P Q"], batch: MixedBatch, structure: str) -> Float[Tensor, " B"]:
    """The loss of each of this rank's patches of a structure."""
    own = batch.owned(structure)
    classes = to_device(batch.classes[own], logits.device).long()
    weights = to_device(batch.weights[own], logits.device)
    return weighted_cross_entropy_per_image(logits.float(), classes, weights)
