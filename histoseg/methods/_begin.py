"""What methods that train a whole network have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from histoseg.runs.config import Run
from histoseg.shards.reader import MetaDataset
from histoseg.types import Task

if TYPE_CHECKING:
    from histoseg.models.network import Network


@dataclass(frozen=True, kw_only=True)
class WholeNetwork:
    """A method that trains all of a network."""

    def network(self, run: Run, tasks: Mapping[str, Task], before: "Network | None", seed: int) -> "Network":
        """A new network for some tasks, or a copy of the one of the stage before with what these tasks need."""
        from histoseg.models.spec import network_of

        if before is None:
            return network_of(run).build(tasks, seed, run.data.tissue_px)
        return network_of(run).extend(before, tasks, seed)


def num_steps(dataset: MetaDataset, num_patches: int) -> int:
    """How many steps of so many patches show as many as there are samples to train on."""
    return -(-sum(len(dataset.training_rows(source)) for source in dataset.sources) // num_patches)
