"""MILD-Net (Graham et al. 2019): its settings. Data is prepared without torch, so that is imported later.

`network.py` and `units.py` are the network, `targets.py` and `loss.py` say what it learns, `sampling.py` and
`predict.py` show it images. What differs from the paper: norms and losses are over all ranks, dropout leaves out whole
channels, the image is scaled down by means of squares, contours are those of Cerberus+, and the optimiser is that of
the experiment, without a penalty on weights.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from histoseg.engines import Execution, require_eager
from histoseg.maps.windows import Windows
from histoseg.models.mildnet.targets import object_and_contour
from histoseg.models.taught import taught_objects
from histoseg.runs.config import require
from histoseg.store.objects import Store
from histoseg.structures import MPP
from histoseg.types import Image, InstanceMap, Target, Task

if TYPE_CHECKING:
    from torch import Tensor

    from histoseg.models.mildnet.network import MildNet, MildNetParts
    from histoseg.models.network import Network
    from histoseg.models.prediction import Prediction
    from histoseg.models.spec import Heads, RegionPredictor


@dataclass(frozen=True, kw_only=True)
class MildNetSpec:
    """Settings of MILD-Net.

    Attributes:
        width: Channels of the first features; 64 is the published network.
        aux_steps: After so many steps, again and again, the auxiliary losses count a tenth of what they did. The paper
            has 8 epochs, which are 16,000 steps on GlaS, as its 30 epochs are 60,000 (p. 9).
        transformations: How many random transformations of an image a prediction is the mean of; 0 means the image as
            it is.
    """

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

        return build(self._parts(taught_objects(tasks, "MILD-Net")), seed)

    def extend(self, network: "Network", tasks: Mapping[str, Task], seed: int) -> "MildNet":
        """A copy of the network that also has heads for what these tasks teach."""
        from histoseg.models.mildnet.network import MildNet, with_heads
        from histoseg.models.network import require_kind

        return with_heads(require_kind(network, MildNet), taught_objects(tasks, "MILD-Net"), seed)

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

    def starting_weights(self, store: Store) -> "Mapping[str, Tensor]":  # noqa: ARG002  # every network's
        """None: it starts from random numbers, as published."""
        return {}

    def target(self, instance_map: InstanceMap, structure: str, mpp: float = MPP) -> Target:
        """What the head of a structure learns from a patch at `mpp` microns per pixel."""
        return object_and_contour(instance_map, structure, mpp)

    def predict(
        self, network: "MildNet", image: Image, windows: Windows, *, heads: Collection[str] = (), mpp: float = MPP
    ) -> "Prediction":
        """The objects in a whole image, see `histoseg.models.mildnet.predict`.

        Raises:
            ConfigError: If windows overlap.
            DataError: If a head produces NaN or infinite values.
        """
        from histoseg.models.mildnet.predict import regions_of
        from histoseg.models.opened_regions import require_margin
        from histoseg.models.whole_image import predict_objects

        regions = regions_of(network, heads, mpp, self.transformations)
        return predict_objects(regions, image, require_margin(windows, "MILD-Net"), regions.wanted)

    def regions(
        self,
        network: "MildNet",
        *,
        heads: Collection[str] = (),
        mpp: float = MPP,
        execution: Execution | None = None,
    ) -> "RegionPredictor":
        """The objects in regions of a slide.

        Raises:
            ConfigError: If an engine or a precision is asked for: this network has one way to be run.
        """
        from histoseg.models.mildnet.predict import regions_of

        require_eager(execution, "MILD-Net")
        return regions_of(network, heads, mpp, self.transformations)

    def difficulty(
        self, network: "MildNet", image: Image, windows: Windows, structure: str
    ) -> Float32[np.ndarray, "H W"]:
        """How uncertain the head of a structure is of each pixel over so many transformations (Eq. 5).

        Raises:
            ConfigError: If there are fewer than two transformations, windows overlap, or there is no such head.
        """
        from histoseg.models.mildnet.predict import uncertainty
        from histoseg.models.opened_regions import require_margin

        return uncertainty(network, image, require_margin(windows, "MILD-Net"), structure, self.transformations)


SPEC = MildNetSpec
