"""What is known of a source when an experiment's runs are planned."""

from collections.abc import Mapping
from dataclasses import dataclass

from histoseg.types import EXTERNAL, FOLDS, SPLITS, Split, Task


@dataclass(frozen=True, kw_only=True)
class Available:
    """A source that runs may read.

    Attributes:
        splits: The splits or folds that hold at least one sample.
    """

    task: Task
    splits: frozenset[Split]
    num_patients: int


Sources = Mapping[str, Available]


def assumed(task: Task) -> Available:
    """A source as it would be if it were prepared and large enough."""
    return Available(task=task, splits=frozenset((*SPLITS, *FOLDS, EXTERNAL)), num_patients=0)
