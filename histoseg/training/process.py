"""One of the processes that train together."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from histoseg.runs.config import Precision
from histoseg.training.progress import Status
from histoseg.types import Place


def use_precision(precision: Precision) -> None:
    """Have this process's GPU compute float32 as float32, or where bfloat16 will do, as TF32, which has as few bits.

    torch computes convolutions in TF32 unless told otherwise; whatever is scored after a training is computed likewise.
    """
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "bf16"


def _silent(_: Status) -> None:
    """For whoever only reads the log."""


def _never() -> bool:
    """For machines that nobody reclaims."""
    return False


@dataclass(frozen=True, kw_only=True)
class Process:
    """Where this process stands, what it computes on, and whom it tells how far it is.

    Attributes:
        attempt: How many have been at these cells before and with this process; 0 if nobody counts.
        on_status: Hears how far a training is.
        is_reclaimed: Says whether a machine of this training is about to be taken away. Ranks wait for each other in
            it, so all ask at the same steps.
    """

    place: Place = field(default_factory=Place)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    attempt: int = 0
    on_status: Callable[[Status], None] = _silent
    is_reclaimed: Callable[[], bool] = _never

    @property
    def leads(self) -> bool:
        """Whether this process writes what all have computed together."""
        return self.place.rank == 0
