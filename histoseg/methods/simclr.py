"""SimCLR: an encoder learns, without labels, which two views are of the same place (Chen et al. 2020).

Features are pooled, two fully connected layers project them, and each view must be nearer to its partner than to all
other views of the step. The projection is thrown away afterwards. Departures from the paper, whose images are
photographs: views keep their scale (`histoseg.loaders.views`), and Adam takes the place of LARS, as for every other
training here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from histoseg.errors import ConfigError
from histoseg.loaders.batches import BatchSampler
from histoseg.loaders.views import view_loader
from histoseg.methods._begin import num_steps
from histoseg.models.probe import probe_of
from histoseg.models.probe.names import PROJECTION
from histoseg.runs.config import Run
from histoseg.shards.reader import MetaDataset
from histoseg.types import Place, Task, ViewBatch

if TYPE_CHECKING:
    from histoseg.models.network import Network
    from histoseg.models.probe.network import Probe


@dataclass(frozen=True, kw_only=True)
class SimClr:
    """Contrastive pretraining of an encoder.

    Attributes:
        batch: Pairs of views in one step over all ranks; each is told from all others of the step.
        temperature: What similarities are divided by.
        projection: Numbers that features are projected to.
    """

    batch: int = 256  # Chen et al. 2020, Fig. 9: the smallest of 256 to 8192
    temperature: float = 0.1  # Chen et al. 2020, Table 5: the best of 0.05 to 1
    projection: int = 128  # Chen et al. 2020, Sec. 4.2: "a 2-layer MLP projection head to … a 128-dimensional space"

    def __post_init__(self) -> None:
        if self.batch < 2:
            raise ConfigError(f"method.batch = {self.batch}: must be 2 or more, as each pair is told from another")
        if not self.temperature > 0:
            raise ConfigError(f"method.temperature = {self.temperature}: must be above 0")
        if self.projection < 1:
            raise ConfigError(f"method.projection = {self.projection}: must be 1 or more")

    def network(
        self,
        run: Run,
        tasks: Mapping[str, Task],  # noqa: ARG002  # every method's
        before: "Network | None",
        seed: int,
    ) -> "Probe":
        """An encoder with a projection: new, or with the encoder of the stage before."""
        fresh = probe_of(run).with_outputs({PROJECTION: self.projection}, seed)
        return fresh if before is None else fresh.with_encoder_of(before)

    def steps_per_epoch(self, dataset: MetaDataset) -> int:
        return num_steps(dataset, self.batch)

    def batches(
        self, dataset: MetaDataset, run: Run, *, seed: int, place: Place, first_step: int
    ) -> Iterator[ViewBatch]:
        rows = {source: dataset.training_rows(source) for source in dataset.sources}
        sampler = BatchSampler(rows=rows, batch=self.batch, seed=seed)
        return view_loader(dataset, run.data, sampler, place=place, first_step=first_step)

    def backward(self, model: "Probe", batch: ViewBatch) -> float:
        from histoseg.methods._contrast import backward

        return backward(model, batch, self.temperature)


METHOD = SimClr
