"""What of a cluster each process of a cohort of slides takes."""

from collections.abc import Mapping
from dataclasses import dataclass

# An actor takes most of a CPU, whose rest is for opening and finishing slides: where actors have taken all CPUs, these
# have room as well.
ACTOR_CPUS, REST_OF_CPU = 0.75, 0.25
CALLS_ON_GPU = 2  # They fill each other's gaps: while one batch begins or ends, the other computes.


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How a cluster is shared out.

    Attributes:
        actors: How many processes with the model there may be.
        actor_gpus: GPUs of each.
        calls_each: How many batches of regions each has at a time.
        task_cpus: CPUs for opening or finishing a slide. Where there are enough it is a whole one, so that a node has
            few of them: what crosses the borders of a slide's regions is in memory while the slide is finished.
    """

    actors: int
    actor_gpus: int
    calls_each: int
    task_cpus: float

    @property
    def batches(self) -> int:
        """How many batches of regions run at a time."""
        return self.actors * self.calls_each


def share_out(resources: Mapping[str, float]) -> Shares:
    """An actor for each GPU of a cluster, or for each CPU if there is none."""
    cpus, gpus = resources.get("CPU", 0.0), int(resources.get("GPU", 0))
    actors = gpus or max(1, int(cpus))
    has_spare = cpus - ACTOR_CPUS * actors >= actors
    return Shares(
        actors=actors,
        actor_gpus=int(gpus > 0),
        calls_each=CALLS_ON_GPU if gpus else 1,
        task_cpus=1.0 if has_spare else REST_OF_CPU,
    )
