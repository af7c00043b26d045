"""nnU-Net's recipe (Isensee et al. 2021, Nature Methods 18) for 2D patches: its settings.

This is the recipe restated for this project's patches and loop, and not the package: nothing is planned from a
fingerprint of the data but the number of stages, there is no ensemble, and patches are augmented as for the other
networks. `sizes.py` and `network.py` are the network, `targets.py` and `loss.py` say what it learns, `predict.py` makes
objects of what it predicts. docs/comparators.md compares both. Data is prepared without torch, so that is imported
later.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from histoseg.models.nnunet.sizes import num_stages_of, require_patch
from histoseg.models.nnunet.targets import NUM_CLASSES, border_and_core
from histoseg.models.objects_spec import ObjectsSpec
from histoseg.models.taught import taught_objects
from histoseg.runs.config import require
from histoseg.structures import MPP
from histoseg.types import InstanceMap, Target, Task

if TYPE_CHECKING:
    from histoseg.models.network import Network
    from histoseg.models.nnunet.network import NNUNet, NNUNetParts
    from histoseg.models.nnunet.predict import NNUNetRegions
    from histoseg.models.spec import Heads


@dataclass(frozen=True, kw_only=True)
class NNUNetSpec(ObjectsSpec):
    """Settings of nnU-Net.

    Attributes:
        width: Channels of the first features; 32 is the published network, with 512 at most.
        patch_px: Side of the patches that it learns from, which says how many stages it has.
        mirror: Whether a prediction is the mean over the image and its three mirrored versions, as published.
    """

    title: ClassVar[str] = "nnU-Net"
    width: int = 32
    patch_px: int = 448
    mirror: bool = True

    def __post_init__(self) -> None:
        require(self.width >= 1, "network.width", self.width, "1 or more")
        require_patch(self.patch_px)

    def build(self, tasks: Mapping[str, Task], seed: int, tissue_px: int) -> "NNUNet":  # noqa: ARG002  # every network's
        """A new network with a head for each structure that the tasks teach.

        Raises:
            DataError: If a task teaches no objects.
        """
        from histoseg.models.nnunet.network import build

        return build(self._parts(taught_objects(tasks, self.title)), seed)

    def extend(self, network: "Network", tasks: Mapping[str, Task], seed: int) -> "NNUNet":
        """A copy of the network that also has heads for what these tasks teach."""
        from histoseg.models.network import require_kind
        from histoseg.models.nnunet.network import NNUNet, with_heads

        return with_heads(require_kind(network, NNUNet), taught_objects(tasks, self.title), seed)

    def heads(self, network: "Network") -> "Heads":
        """Background, core and border, of each structure."""
        from histoseg.models.network import require_kind
        from histoseg.models.nnunet.network import NNUNet
        from histoseg.models.spec import Heads

        return Heads(num_classes=dict.fromkeys(require_kind(network, NNUNet).parts.structures, NUM_CLASSES))

    def rebuild(self, heads: "Heads") -> "NNUNet":
        from histoseg.models.nnunet.network import build

        return build(self._parts(tuple(heads.num_classes)), 0)

    def _parts(self, structures: tuple[str, ...]) -> "NNUNetParts":
        from histoseg.models.nnunet.network import NNUNetParts

        return NNUNetParts(structures=structures, width=self.width, num_stages=num_stages_of(self.patch_px))

    def target(self, instance_map: InstanceMap, structure: str, mpp: float = MPP) -> Target:
        """What the head of a structure learns from a patch at `mpp` microns per pixel."""
        return border_and_core(instance_map, structure, self.patch_px, mpp)

    def _regions(self, network: "Network", heads: Collection[str], mpp: float) -> "NNUNetRegions":
        from histoseg.models.network import require_kind
        from histoseg.models.nnunet.network import NNUNet
        from histoseg.models.nnunet.predict import NNUNetRegions

        return NNUNetRegions(require_kind(network, NNUNet), mpp, self.mirror, heads)


SPEC = NNUNetSpec
