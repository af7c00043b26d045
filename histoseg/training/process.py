"""One of the processes that train together."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from histoseg.training.progress import Status
from histoseg.types import Place


def _silent(_: Status) -> None:
    """For whoever only reads the log."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """Where this process stands, what it computes on, and whom it tells how far it is."""

    place: Place = field(default_factory=Place)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    on_status: Callable[[Status], None] = _silent

    @property
    def leads(self) -> bool:
        """Whether this process writes what all have computed together."""
        return self.place.rank == 0
