"""What a network is built from: the protocol of SPEC in the folders beside this file. Torch is not needed."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from histoseg.runs.config import Run, Settings
from histoseg.store.objects import Store
from histoseg.types import Task

if TYPE_CHECKING:
    from histoseg.models.network import Network


@runtime_checkable
class NetworkSettings(Settings, Protocol):
    """A frozen dataclass whose fields say how large a network is, and what it starts from."""

    def build(self, tasks: Mapping[str, Task], seed: int, tissue_px: int) -> "Network":
        """A new network for some tasks, by source."""
        ...

    def extend(self, network: "Network", tasks: Mapping[str, Task], seed: int) -> "Network":
        """A copy of the network of the stage before, with what other tasks need."""
        ...

    def start(self, network: "Network", store: Store) -> None:
        """Give a new network the weights that training starts from, if the settings name any."""
        ...

    def fetch(self, store: Store) -> None:
        """Have those weights in the store before anything is spent on a training."""
        ...

    def class_names(self, network: "Network", tasks: Mapping[str, Task]) -> dict[str, tuple[str, ...]]:
        """What the classes of each output are called."""
        ...


def network_of(run: Run) -> NetworkSettings:
    """The settings of a run's network.

    Raises:
        TypeError: If its module offers something else.
    """
    if not isinstance(run.network, NetworkSettings):
        raise TypeError(f"{type(run.network).__name__} does not describe a network: it lacks build, extend or start")
    return run.network
