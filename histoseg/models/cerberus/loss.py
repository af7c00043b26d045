"""What a step of Cerberus learns (Graham et al. 2023, Eq. 1): the parts of the loss that need no network."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from histoseg.models.cerberus.decoders import DROPOUT
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


def draw_kept(seeds: tuple[int, ...], num_features: int) -> Bool[np.ndarray, "B F"]:
    """Which features of each patch dropout leaves: by the patch's own stream, on whichever rank it is."""
    drawn = [np.random.default_rng([seed, 1]).random(num_features) >= DROPOUT for seed in seeds]
    return np.stack(drawn) if drawn else np.empty((0, num_features), bool)
