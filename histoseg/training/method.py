"""What the training loop asks of a method."""

from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

from histoseg.models.network import Network
from histoseg.runs.config import Run, Stage
from histoseg.shards.reader import MetaDataset
from histoseg.types import Place, StepBatch, Task


@runtime_checkable
class Method(Protocol):
    """How a network learns. A frozen dataclass whose fields are its hyperparameters."""

    def network(self, run: Run, tasks: Mapping[str, Task], before: Network | None, seed: int) -> Network:
        """The network that a stage trains: a new one, or what the method makes of the one of the stage before."""

    def batches(
        self, dataset: MetaDataset, run: Run, *, seed: int, place: Place, first_step: int
    ) -> Iterator[StepBatch]:
        """The steps this rank computes on, from `first_step` on and without end."""

    def steps_per_epoch(self, dataset: MetaDataset) -> int:
        """How many steps show as many patches as there are samples."""

    def backward(self, model: Network, batch: StepBatch) -> float:
        """Add this rank's share of the step's gradient to `.grad`; return its share of the loss.

        Summed over ranks, both are those of the whole step.
        """


def method_of(stage: Stage) -> Method:
    """The method of a stage."""
    if not isinstance(stage.method, Method):
        raise TypeError(f"{type(stage.method).__name__} is not a method: it lacks network, batches or backward")
    return stage.method
