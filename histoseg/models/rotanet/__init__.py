"""Rota-Net (Graham, Epstein & Rajpoot 2019): its settings. Data is prepared without torch, so that is imported later.

`group.py` has convolutions that turn with the image, `network.py` is the network, `targets.py` says what it learns,
`predict.py` shows it images. Only the abstract of the paper is public: each module says what it leaves open and what is
done here instead.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from histoseg.models.objects_spec import ObjectsSpec
from histoseg.models.rotanet.targets import classes_of, eroded_target
from histoseg.models.taught import taught_objects
from histoseg.runs.config import require
from histoseg.structures import MPP
from histoseg.types import InstanceMap, Target, Task

if TYPE_CHECKING:
    from histoseg.models.network import Network
    from histoseg.models.opened_regions import OpenedRegions
    from histoseg.models.rotanet.network import RotaNet
    from histoseg.models.spec import Heads


@dataclass(frozen=True, kw_only=True)
class RotaNetSpec(ObjectsSpec):
    """Settings of Rota-Net.

    Attributes:
        width: Features at full size, of four orientations each.
    """

    title: ClassVar[str] = "Rota-Net"
    width: int = 16

    def __post_init__(self) -> None:
        require(self.width >= 1, "network.width", self.width, "1 or more")

    def build(self, tasks: Mapping[str, Task], seed: int, tissue_px: int) -> "RotaNet":  # noqa: ARG002  # every network's
        """A new network with a branch for each structure that the tasks teach.

        Raises:
            DataError: If a task teaches no objects.
        """
        return self._build(classes_of(taught_objects(tasks, self.title)), seed)

    def extend(self, network: "Network", tasks: Mapping[str, Task], seed: int) -> "RotaNet":
        """A copy of the network that also has branches for what these tasks teach."""
        from histoseg.models.network import require_kind
        from histoseg.models.rotanet.network import RotaNet, with_heads

        return with_heads(require_kind(network, RotaNet), classes_of(taught_objects(tasks, self.title)), seed)

    def heads(self, network: "Network") -> "Heads":
        """How many classes the branch of each structure has."""
        from histoseg.models.network import require_kind
        from histoseg.models.rotanet.network import RotaNet
        from histoseg.models.spec import Heads

        return Heads(num_classes=dict(require_kind(network, RotaNet).parts.num_classes))

    def rebuild(self, heads: "Heads") -> "RotaNet":
        return self._build(heads.num_classes, 0)

    def _build(self, num_classes: Mapping[str, int], seed: int) -> "RotaNet":
        from histoseg.models.rotanet.network import RotaNetParts, build

        return build(RotaNetParts(num_classes=num_classes, width=self.width), seed)

    def target(self, instance_map: InstanceMap, structure: str, mpp: float = MPP) -> Target:
        """What the branch of a structure learns from a patch at `mpp` microns per pixel."""
        return eroded_target(instance_map, structure, mpp)

    def _regions(self, network: "Network", heads: Collection[str], mpp: float) -> "OpenedRegions":
        from histoseg.models.network import require_kind
        from histoseg.models.rotanet.network import RotaNet
        from histoseg.models.rotanet.predict import regions_of

        return regions_of(require_kind(network, RotaNet), heads, mpp)


SPEC = RotaNetSpec
