"""What is known of a source when an experiment's runs are planned."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from histoseg.types import EXTERNAL, FOLDS, SPLITS, Split, Task


@dataclass(frozen=True, kw_only=True)
class Available:
    """A source that runs may read.

    Attributes:
        splits: The splits or folds that hold at least one sample.
        classes: The classes that some pixel has; empty if that is not known.
        images_with_objects: How many images of each split or fold have some; empty if that is not known.
    """

    task: Task
    splits: frozenset[Split]
    num_patients: int
    classes: tuple[str, ...] = ()
    images_with_objects: Mapping[Split, int] = field(default_factory=dict)

    @property
    def is_typed(self) -> bool:
        """Whether objects are of several classes; the first class is the background."""
        return len(set(self.classes or self.task.classes) - {self.task.classes[0]}) > 1


Sources = Mapping[str, Available]


def assumed(task: Task) -> Available:
    """A source as it would be if it were prepared and large enough."""
    return Available(task=task, splits=frozenset((*SPLITS, *FOLDS, EXTERNAL)), num_patients=0)
