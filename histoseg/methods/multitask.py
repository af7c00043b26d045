"""One network for glands, lumina, nuclei and tissue, trained on data sets that each have one of them.

The method is that of Cerberus (Graham et al. 2023, Sec. 3.2); with sources of one structure, that of the networks that
it is compared with. What a patch teaches and what a step costs, the network says (`MixedLearner`).

A decoder of Cerberus computes and learns from its own structure's patches alone; where none is in the step, on any
rank, it is not run and nothing of it changes. The published code runs every head on every patch and masks the loss, so
that batch statistics see other structures' images too, and running ones move in every step: `masked` does the same.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from histoseg.errors import ConfigError
from histoseg.loaders.by_class import require_weighting
from histoseg.loaders.mixed import MixedSampler, mixed_loader, pools_of
from histoseg.methods._begin import WholeNetwork, num_steps
from histoseg.runs.config import Run
from histoseg.shards.reader import MetaDataset
from histoseg.structures import TISSUE
from histoseg.types import MixedBatch, Place, Task

if TYPE_CHECKING:
    from histoseg.models.network import Network

Trained = Literal["all", "decoders"]


@dataclass(frozen=True, kw_only=True)
class MultiTask(WholeNetwork):
    """Multi-task training; with sources of a single structure, single-task training.

    Attributes:
        batch: Patches in one step over all ranks, so a step means the same on any number of GPUs.
        mixed: Whether a step has patches of several structures (Sec. 3.2.1).
        loss_weights: What the mean loss of a structure counts; 1 where it is not named, as Eq. 1 has it.
        masked: Whether every head is run on the patches of all structures, those without a patch in the step for their
            running statistics alone.
        in_turn: Whether structures follow each other, as in the published code, instead of being drawn.
        class_weighting: The share of a structure's patches whose stored sample is drawn by class.
        trains: Which weights change: all, or all but the encoder's, whose norms go on following the patches.
    """

    batch: int = 27  # Sec. 4.4: 9 samples per GPU, 3 GPUs
    mixed: bool = True
    loss_weights: tuple[tuple[str, float], ...] = ()
    masked: bool = False
    in_turn: bool = False
    class_weighting: float = 0.0
    trains: Trained = "all"

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"method.batch = {self.batch}: must be 1 or more")
        if bad := [pair for pair in self.loss_weights if not pair[1] > 0]:
            raise ConfigError(f"method.loss_weights = {bad}: must be above 0")
        require_weighting(self.class_weighting)

    def network(self, run: Run, tasks: Mapping[str, Task], before: "Network | None", seed: int) -> "Network":
        from histoseg.models.spec import learner_of

        found = super().network(run, tasks, before, seed)
        if self.trains == "decoders":
            learner_of(found).encoder.requires_grad_(False)
        return found

    def steps_per_epoch(self, dataset: MetaDataset) -> int:
        return num_steps(dataset, self.batch)

    def batches(
        self, dataset: MetaDataset, run: Run, *, seed: int, place: Place, first_step: int
    ) -> Iterator[MixedBatch]:
        pools = pools_of(dataset, run.data, self.class_weighting)
        if TISSUE in pools and self.batch < 2:
            raise ConfigError("method.batch = 1: must be 2 or more with tissue, since one patch has no variance")
        sampler = MixedSampler(pools=pools, batch=self.batch, mixed=self.mixed, seed=seed, in_turn=self.in_turn)
        return mixed_loader(dataset, run, sampler, place=place, first_step=first_step)

    def backward(self, model: "Network", batch: MixedBatch) -> float:
        """Add this rank's share of the gradient of the network's loss (Eq. 1); return its share of that loss."""
        import torch

        from histoseg.models.spec import learner_of

        loss = learner_of(model).step_loss(batch, dict(self.loss_weights), masked=self.masked)
        torch.autograd.backward(loss)
        return float(loss.detach())


METHOD = MultiTask
