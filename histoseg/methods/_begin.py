"""Where a stage begins, for methods that train all of a network."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from histoseg.runs.config import Run
from histoseg.shards.reader import MetaDataset
from histoseg.types import Task

if TYPE_CHECKING:
    from histoseg.models.network import Network


def begin(run: Run, tasks: Mapping[str, Task], before: "Network | None", seed: int) -> "Network":
    """A new network for some tasks, or a copy of the one of the stage before with what these tasks need."""
    from histoseg.models.spec import network_of

    if before is None:
        return network_of(run).build(tasks, seed, run.data.tissue_px)
    return network_of(run).extend(before, tasks, seed)


def num_steps(dataset: MetaDataset, num_patches: int) -> int:
    """How many steps of so many patches show as many as there are samples to train on."""
    return -(-sum(len(dataset.training_rows(source)) for source in dataset.sources) // num_patches)
