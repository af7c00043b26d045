"""The U-Net of MetaHistoSeg (Yuan, Esteva & Xu 2022, Sec. 3.1): its settings. Data is prepared without torch.

`network.py` is the network itself, `predict.py` shows it whole images.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from histoseg.engines import Execution, require_eager
from histoseg.maps.windows import Windows
from histoseg.models.prediction import Prediction
from histoseg.runs.config import require
from histoseg.store.objects import Store
from histoseg.types import Image, Task

if TYPE_CHECKING:
    from torch import Tensor

    from histoseg.models.network import Network
    from histoseg.models.spec import Heads, RegionPredictor
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

    def heads(self, network: "Network") -> "Heads":
        """How many classes the head of each task predicts."""
        from histoseg.models.network import require_kind
        from histoseg.models.spec import Heads
        from histoseg.models.unet.network import UNet

        unet = require_kind(network, UNet)
        return Heads(num_classes={task: unet.num_classes(task) for task in unet.heads})

    def rebuild(self, heads: "Heads") -> "UNet":
        from histoseg.models.unet.network import build

        return build(self.width, self.norm, heads.num_classes, 0)

    def starting_weights(self, store: Store) -> "Mapping[str, Tensor]":  # noqa: ARG002  # every network's
        """None: the U-Net starts from random numbers."""
        return {}

    def predict(
        self,
        network: "UNet",
        image: Image,
        windows: Windows,
        *,
        heads: Collection[str] = (),
        mpp: float = 0.0,  # noqa: ARG002  # every network's
    ) -> Prediction:
        """The class of each pixel for each task, see `histoseg.models.unet.predict`."""
        from histoseg.models.unet.predict import predict

        tasks = [task for task in network.heads if not heads or task in heads]
        return Prediction(semantic_maps={task: predict(network, task, image, windows) for task in tasks})

    def regions(
        self,
        network: "UNet",
        *,
        heads: Collection[str] = (),
        mpp: float = 0.0,  # noqa: ARG002  # every network's
        execution: Execution | None = None,
    ) -> "RegionPredictor":
        """The classes of pixels, as `predict` gives them.

        Raises:
            ConfigError: If an engine or a precision is asked for: this network has one way to be run.
        """
        from histoseg.models.unet.regions import UNetRegions

        require_eager(execution, "U-Net")
        return UNetRegions(network, tuple(task for task in network.heads if not heads or task in heads))


SPEC = UNetSpec
