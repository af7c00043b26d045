"""Detection: boxes around objects, learnt by all weights of a RetinaNet (Lin et al. 2017).

Cerberus, Sec. 3.3.3 and 4.3.5: what counts is which weights the encoder begins with, so nothing is frozen. The paper
gives no batch size, rate or length of this training; each scale of an experiment states its own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from histoseg.errors import ConfigError
from histoseg.loaders.batches import BatchSampler
from histoseg.loaders.boxes import box_loader
from histoseg.methods._begin import WholeNetwork, num_steps
from histoseg.runs.config import Run
from histoseg.seeds import number_of
from histoseg.shards.reader import MetaDataset
from histoseg.types import BoxBatch, Place, Task

if TYPE_CHECKING:
    from histoseg.models.network import Network
    from histoseg.models.retinanet.network import RetinaNet


@dataclass(frozen=True, kw_only=True)
class Detection(WholeNetwork):
    """Training of a detector.

    Attributes:
        batch: Patches in one step over all ranks.
        repeat: Which of several trainings that begin with the same encoder: each draws its own head and patches.
    """

    batch: int = 16  # Lin et al. 2017, Sec. 4.1
    repeat: int = 0

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"detection.batch = {self.batch}: must be 1 or more")
        if self.repeat < 0:
            raise ConfigError(f"detection.repeat = {self.repeat}: must be 0 or more")

    def network(self, run: Run, tasks: Mapping[str, Task], before: "Network | None", seed: int) -> "Network":
        """A new detector; it has the encoder of the stage before, if there is one."""
        return super().network(run, tasks, before, self._own(seed))

    def _own(self, seed: int) -> int:
        return number_of(f"repeat {self.repeat} of {seed}") if self.repeat else seed

    def steps_per_epoch(self, dataset: MetaDataset) -> int:
        return num_steps(dataset, self.batch)

    def batches(
        self, dataset: MetaDataset, run: Run, *, seed: int, place: Place, first_step: int
    ) -> Iterator[BoxBatch]:
        rows = {source: dataset.training_rows(source) for source in dataset.sources}
        sampler = BatchSampler(rows=rows, batch=self.batch, seed=self._own(seed))
        return box_loader(dataset, run.data, sampler, place=place, first_step=first_step)

    def backward(self, model: "RetinaNet", batch: BoxBatch) -> float:
        """Add this rank's share of the gradient of the mean loss over images; return its share of that loss.

        As torchvision has it, an image's loss is divided by its own anchors on objects, not by those of the step: so
        the shares of any number of ranks add up.
        """
        import torch

        from histoseg.models.retinanet.loss import total_loss

        loss = total_loss(model, batch) / batch.global_size
        torch.autograd.backward(loss)
        return float(loss.detach())


METHOD = Detection
