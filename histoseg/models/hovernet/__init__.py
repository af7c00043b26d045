"""HoVer-Net (Graham et al. 2019, Medical Image Analysis 58): its settings. Data is prepared without torch.

`network.py` and `blocks.py` are the network, `sizes.py` says what it predicts of a patch, `targets.py` and `loss.py`
what it learns, `postprocess.py` makes nuclei of what it predicts, `regions.py` does so for regions of a slide,
`published.py` reads weights.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from histoseg.errors import DataError
from histoseg.models.hovernet.sizes import Mode, context_px, predicted_px
from histoseg.models.hovernet.targets import distance_target
from histoseg.models.objects_spec import ObjectsSpec
from histoseg.runs.config import require
from histoseg.store.objects import Store
from histoseg.structures import MPP
from histoseg.types import InstanceMap, Target, Task

if TYPE_CHECKING:
    from torch import Tensor

    from histoseg.models.hovernet.network import HoVerNet, HoVerNetParts
    from histoseg.models.hovernet.regions import HoVerNetRegions
    from histoseg.models.network import Network
    from histoseg.models.spec import Heads


@dataclass(frozen=True, kw_only=True)
class HoVerNetSpec(ObjectsSpec):
    """A network for the objects of one structure and, where sources annotate them, their classes.

    Attributes:
        mode: The network of the paper ("original", 270 pixels in, 80 out), or the smaller one of its published code
            ("fast", 256 in, 164 out).
        width: Channels of the first features; 64 is the published network.
        weights: What training starts from: an object `weights/<name>.safetensors` in the store; empty means random
            numbers.
        distance_weight: What the squared error of distances counts in the loss, all other terms being 1: 2 in the code
            released with the paper (TensorFlow), 1 in the later one (PyTorch).
    """

    title: ClassVar[str] = "HoVer-Net"
    mode: Mode = "fast"
    width: int = 64
    weights: str = ""
    distance_weight: float = 2.0

    def __post_init__(self) -> None:
        require(self.width >= 8 and self.width % 8 == 0, "network.width", self.width, "a multiple of 8")
        require(self.distance_weight >= 0, "network.distance_weight", self.distance_weight, "0 or more")
        named = re.fullmatch(r"|[0-9a-f]{16}", self.weights) is not None
        require(named, "network.weights", self.weights, "empty, or the 16 digits of weights in the store")

    def build(self, tasks: Mapping[str, Task], seed: int, tissue_px: int) -> "HoVerNet":  # noqa: ARG002  # every network's
        """A new network for the structure that the tasks teach, with a branch for classes if they annotate several."""
        from histoseg.models.hovernet.network import build

        return build(self._parts(*_taught(tasks)), seed)

    def extend(self, network: "HoVerNet", tasks: Mapping[str, Task], seed: int) -> "HoVerNet":
        """A copy of the network, whose branch for classes is new where these tasks' differ in number."""
        from histoseg.models.hovernet.network import with_parts

        return with_parts(network, self._parts(*_taught(tasks)), seed)

    def heads(self, network: "Network") -> "Heads":
        """Nuclear or not by the name of the structure, and how many classes its objects have."""
        from histoseg.models.hovernet.network import HoVerNet
        from histoseg.models.network import require_kind
        from histoseg.models.spec import Heads

        parts = require_kind(network, HoVerNet).parts
        types = {f"{parts.structure}_type": parts.num_types} if parts.num_types else {}
        return Heads(num_classes={parts.structure: 2, **types})

    def rebuild(self, heads: "Heads") -> "HoVerNet":
        from histoseg.models.hovernet.network import build

        (structure,) = (name for name in heads.num_classes if not name.endswith("_type"))
        return build(self._parts(structure, heads.num_classes.get(f"{structure}_type", 0)), 0)

    def _parts(self, structure: str, num_types: int) -> "HoVerNetParts":
        from histoseg.models.hovernet.network import HoVerNetParts

        return HoVerNetParts(
            structure=structure,
            num_types=num_types,
            mode=self.mode,
            width=self.width,
            distance_weight=self.distance_weight,
        )

    def starting_weights(self, store: Store) -> "Mapping[str, Tensor]":
        from histoseg.models.starting import find_weights

        return find_weights(self.weights, "", store) if self.weights else {}

    def target(self, instance_map: InstanceMap, structure: str, mpp: float = MPP) -> Target:  # noqa: ARG002  # every network's
        """What the network learns from a square patch: of its middle, whose size `sizes.py` gives.

        Raises:
            ConfigError: If the mode cannot take such a patch.
        """
        predicted_px(self.mode, instance_map.shape[0])
        return distance_target(instance_map, context_px(self.mode))

    @property
    def usual_margin_px(self) -> int:
        """The smallest margin that the mode can do with."""
        from histoseg.models.hovernet.regions import least_margin_px

        return least_margin_px(self.mode)

    def _regions(self, network: "Network", heads: Collection[str], mpp: float) -> "HoVerNetRegions":  # noqa: ARG002  # every network's
        from histoseg.models.hovernet.network import HoVerNet
        from histoseg.models.hovernet.regions import HoVerNetRegions
        from histoseg.models.network import require_kind

        return HoVerNetRegions(require_kind(network, HoVerNet), tuple(heads))


def _taught(tasks: Mapping[str, Task]) -> tuple[str, int]:
    """The one structure that tasks teach, and how many classes its objects have, background included; 0 if one."""
    kinds = {(task.structure, task.classes if task.num_classes > 2 else ()) for task in tasks.values()}
    if len(kinds) != 1:
        names = ", ".join(tasks)
        raise DataError(f"{names} differ in structure or classes; give HoVer-Net sources in which both are the same")
    ((structure, classes),) = kinds
    if not structure or any(task.kind != "instance" for task in tasks.values()):
        raise DataError(f"{', '.join(tasks)}: HoVer-Net learns from sources of kind 'instance' that name a structure")
    return structure, len(classes)


SPEC = HoVerNetSpec
