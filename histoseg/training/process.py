"""One of the processes that train together."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from histoseg.runs.config import Precision
from histoseg.training.listeners import Listener, LogLine
from histoseg.types import Place


def use_precision(precision: Precision) -> None:
    """Have this process's GPU compute float32 as float32, or where bfloat16 will do, as TF32, which has as few bits.

    torch computes convolutions in TF32 by default; everything that is scored after a training is computed likewise.
    """
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "bf16"


@dataclass(frozen=True, kw_only=True)
class Process:
    """The rank of this process, what it computes on, and what hears how far it is.

    Attributes:
        attempt: How many processes have worked on these cells so far, this one included; 0 if that is not counted.
        listeners: Hear how far its trainings are; used on the leading process only, closed by the one who made them.
        is_reclaimed: Whether a machine of this training is about to be taken away. Ranks wait for each other in it, so
            all ask at the same steps.
    """

    place: Place = field(default_factory=Place)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    attempt: int = 0
    listeners: tuple[Listener, ...] = (LogLine(),)
    is_reclaimed: Callable[[], bool] = lambda: False

    @property
    def leads(self) -> bool:
        """Whether this process writes what all have computed together."""
        return self.place.rank == 0
