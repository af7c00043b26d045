"""The U-Net of MetaHistoSeg (Yuan, Esteva & Xu 2022, Sec. 3.1): its settings. Data is prepared without torch.

`network.py` is the network itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from histoseg.runs.config import require
from histoseg.store.objects import Store
from histoseg.types import Task

if TYPE_CHECKING:
    from histoseg.models.unet.network import UNet

Norm = Literal["group", "batch", "frozen"]


@dataclass(frozen=True, kw_only=True)
class UNetSpec:
    """`width` channels at the first level, twice as many at each level below; `norm` is explained in docs/adr/0003."""

    width: int = 32
    norm: Norm = "group"

    def __post_init__(self) -> None:
        require(self.width >= 4 and self.width % 4 == 0, "network.width", self.width, "a multiple of 4")

    def build(self, tasks: Mapping[str, Task], seed: int, tissue_px: int) -> "UNet":  # noqa: ARG002  # every network's
        """A new network with a head for each task."""
        from histoseg.models.unet.network import build

        return build(self.width, self.norm, {name: task.num_classes for name, task in tasks.items()}, seed)

    def extend(self, network: "UNet", tasks: Mapping[str, Task], seed: int) -> "UNet":
        """A copy of the network's body with a fresh head for each task."""
        from histoseg.models.unet.network import with_new_heads

        return with_new_heads(network, {name: task.num_classes for name, task in tasks.items()}, seed)

    def start(self, network: "UNet", store: Store) -> None:
        """Nothing: training starts from random numbers."""

    def fetch(self, store: Store) -> None:
        """Nothing, likewise."""

    def class_names(self, network: "UNet", tasks: Mapping[str, Task]) -> dict[str, tuple[str, ...]]:
        """The classes of each head that the network has."""
        return {name: task.classes for name, task in tasks.items() if name in network.heads}


SPEC = UNetSpec
