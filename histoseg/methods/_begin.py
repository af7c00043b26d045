"""Where a stage begins, for methods that train all of a network."""

from collections.abc import Mapping
from typing import TypeVar

from histoseg.runs.config import Run
from histoseg.shards.reader import MetaDataset
from histoseg.types import Task

Trained = TypeVar("Trained")


def begin(run: Run, tasks: Mapping[str, Task], before: Trained | None, seed: int) -> Trained:
    """A new network for some tasks, or the one of the stage before with what these tasks need."""
    found: Trained
    if before is None:
        found = run.network.build(tasks, seed, run.data.tissue_px)
    else:
        found = run.network.extend(before, tasks, seed)
    return found


def num_steps(dataset: MetaDataset, num_patches: int) -> int:
    """How many steps of so many patches show as many as there are samples to train on."""
    return -(-sum(len(dataset.training_rows(source)) for source in dataset.sources) // num_patches)
