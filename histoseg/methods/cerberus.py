"""Cerberus: one encoder for glands, lumina, nuclei and tissue, trained on data sets that each have one of them.

Graham et al. 2022, Sec. 3.2. A decoder computes and learns from its own structure's patches alone; where none is in
the step, on any rank, it is not run and nothing of it changes. The published code runs every decoder on every patch
and masks the loss, so that its decoders' batch statistics see other structures' images too: `masked` does the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from histoseg.config import Data
from histoseg.errors import ConfigError
from histoseg.loaders.mixed import TISSUE, MixedSampler, mixed_loader, pools_of
from histoseg.losses import weighted_cross_entropy_per_image
from histoseg.models.cerberus import DROPOUT, Cerberus
from histoseg.models.tensors import device_of
from histoseg.shards.reader import MetaDataset
from histoseg.types import MixedBatch, Place, Structure


@dataclass(frozen=True, kw_only=True)
class MultiTask:
    """Multi-task training; with sources of a single structure, single-task training.

    Attributes:
        batch: Patches in one step over all ranks, so a step means the same on any number of GPUs.
        mixed: Whether a step has patches of several structures (Sec. 3.2.1).
        contour: Whether decoders also learn the border of objects ("Cerberus+").
        loss_weights: What the mean loss of a structure counts; 1 where it is not named, as Eq. 1 has it.
        masked: Whether each decoder that has patches in the step is run on those of all structures.
    """

    batch: int = 27  # Sec. 4.4: 9 samples per GPU, 3 GPUs
    mixed: bool = True
    contour: bool = False
    loss_weights: tuple[tuple[str, float], ...] = ()
    masked: bool = False

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"method.batch = {self.batch}: must be 1 or more")
        if bad := [pair for pair in self.loss_weights if not pair[1] > 0]:
            raise ConfigError(f"method.loss_weights = {bad}: must be above 0")

    def batches(
        self, dataset: MetaDataset, data: Data, *, seed: int, place: Place, first_step: int
    ) -> Iterator[MixedBatch]:
        """This rank's share of each step."""
        pools = pools_of(dataset, data)
        if TISSUE in pools and self.batch < 2:
            raise ConfigError("method.batch = 1: must be 2 or more with tissue, of which one patch has no variance")
        sampler = MixedSampler(pools=pools, batch=self.batch, mixed=self.mixed, seed=seed)
        return mixed_loader(dataset, data, sampler, contour=self.contour, place=place, first_step=first_step)

    def backward(self, model: Cerberus, batch: MixedBatch) -> float:
        """Add this rank's share of the gradient of Eq. 1; return its share of that loss.

        The loss of a structure is the mean over the patches that own it, on all ranks: a rank with fewer of them must
        not weigh them more.
        """
        weights = dict(self.loss_weights)
        features = model.encode(torch.from_numpy(batch.images).to(device_of(model), non_blocking=True))
        total = features[0].new_zeros((), dtype=torch.float32)
        for structure, count in batch.counts.items():
            losses = self._losses(model, features, batch, structure)
            total = total + weights.get(structure, 1.0) * losses.sum() / count
        torch.autograd.backward(total)
        return float(total.detach())

    def _losses(self, model: Cerberus, features: list[Tensor], batch: MixedBatch, structure: Structure) -> Tensor:
        """The loss of each of this rank's patches of a structure."""
        own, device = batch.owned(structure), features[0].device
        classes = torch.from_numpy(batch.classes[own]).to(device, non_blocking=True).long()
        weights = torch.from_numpy(batch.weights[own]).to(device, non_blocking=True)
        if structure == TISSUE:
            kept = torch.from_numpy(draw_kept(batch.seeds[own], features[-1].shape[1])).to(device)
            logits = model.classify([feature[own] for feature in features], kept)
        elif self.masked:
            logits = model.decode(features, structure)[own]
        else:
            logits = model.decode([feature[own] for feature in features], structure)
        return weighted_cross_entropy_per_image(logits.float(), classes, weights)


METHOD = MultiTask


def draw_kept(seeds: tuple[int, ...], num_features: int) -> np.ndarray:
    """Which features of each patch dropout leaves, bool (B, F): by the patch's own stream, on whichever rank it is."""
    drawn = [np.random.default_rng([seed, 1]).random(num_features) >= DROPOUT for seed in seeds]
    return np.stack(drawn) if drawn else np.empty((0, num_features), bool)
