"""MILD-Net (Graham et al. 2019): its settings. Data is prepared without torch, so that is imported later.

`network.py` and `units.py` are the network, `targets.py` and `loss.py` say what it learns, `sampling.py` and
`predict.py` show it images. What differs from the paper: norms and losses are over all ranks, dropout leaves out whole
channels, the image is scaled down by averaging 2 x 2 pixels, contours are those of Cerberus+, and the optimiser is that
of the experiment, without a penalty on weights.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float32

from histoseg.maps.windows import Windows
from histoseg.models.mildnet.targets import object_and_contour
from histoseg.models.objects_spec import ObjectsSpec
from histoseg.models.taught import taught_objects
from histoseg.runs.config import require
from histoseg.structures import MPP
from histoseg.types import Image, InstanceMap, Target, Task

if TYPE_CHECKING:
    from histoseg.models.mildnet.network import MildNet, MildNetParts
    from histoseg.models.network import Network
    from histoseg.models.opened_regions import OpenedRegions
    from histoseg.models.spec import Heads


@dataclass(frozen=True, kw_only=True)
class MildNetSpec(ObjectsSpec):
    """Settings of MILD-Net.

    Attributes:
        width: Channels of the first features; 64 is the published network.
        aux_steps: Every so many steps the weight of the auxiliary losses is divided by ten. The paper has
            8 epochs, which are 16,000 steps on GlaS, as its 30 epochs are 60,000 (p. 9).
        transformations: How many random transformations of an image a prediction is the mean of; 0 means the image as
            it is.
    """

    title: ClassVar[str] = "MILD-Net"
    width: int = 64
    aux_steps: int = 16_000
    transformations: int = 0

    def __post_init__(self) -> None:
        require(self.width >= 4, "network.width", self.width, "4 or more")
        require(self.aux_steps >= 1, "network.aux_steps", self.aux_steps, "1 or more")
        require(self.transformations >= 0, "network.transformations", self.transformations, "0 or more")

    def build(self, tasks: Mapping[str, Task], seed: int, tissue_px: int) -> "MildNet":  # noqa: ARG002  # every network's
        """A new network with a head for each structure that the tasks teach.

        Raises:
            DataError: If a task teaches no objects.
        """
        from histoseg.models.mildnet.network import build

        return build(self._parts(taught_objects(tasks, self.title)), seed)

    def extend(self, network: "Network", tasks: Mapping[str, Task], seed: int) -> "MildNet":
        """A copy of the network that also has heads for what these tasks teach."""
        from histoseg.models.mildnet.network import MildNet, with_heads
        from histoseg.models.network import require_kind

        return with_heads(require_kind(network, MildNet), taught_objects(tasks, self.title), seed)

    def heads(self, network: "Network") -> "Heads":
        """Background and object, of each structure."""
        from histoseg.models.mildnet.network import MildNet
        from histoseg.models.network import require_kind
        from histoseg.models.spec import Heads

        return Heads(num_classes=dict.fromkeys(require_kind(network, MildNet).parts.structures, 2))

    def rebuild(self, heads: "Heads") -> "MildNet":
        from histoseg.models.mildnet.network import build

        return build(self._parts(tuple(heads.num_classes)), 0)

    def _parts(self, structures: tuple[str, ...]) -> "MildNetParts":
        from histoseg.models.mildnet.network import MildNetParts

        return MildNetParts(structures=structures, width=self.width, aux_steps=self.aux_steps)

    def target(self, instance_map: InstanceMap, structure: str, mpp: float = MPP) -> Target:
        """What the head of a structure learns from a patch at `mpp` microns per pixel."""
        return object_and_contour(instance_map, structure, mpp)

    def _regions(self, network: "Network", heads: Collection[str], mpp: float) -> "OpenedRegions":
        from histoseg.models.mildnet.network import MildNet
        from histoseg.models.mildnet.predict import regions_of
        from histoseg.models.network import require_kind

        return regions_of(require_kind(network, MildNet), heads, mpp, self.transformations)

    def difficulty(
        self, network: "MildNet", image: Image, windows: Windows, structure: str
    ) -> Float32[np.ndarray, "H W"]:
        """How uncertain the head of a structure is of each pixel over so many transformations (Eq. 5).

        Raises:
            ConfigError: If there are fewer than two transformations, windows overlap, or there is no such head.
        """
        from histoseg.models.mildnet.predict import uncertainty

        return uncertainty(network, image, self.with_margin(windows), structure, self.transformations)


SPEC = MildNetSpec
