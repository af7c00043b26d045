"""Rota-Net (Graham, Epstein & Rajpoot 2019): its settings. Data is prepared without torch, so that is imported later.

`group.py` has convolutions that turn with the image, `network.py` is the network, `targets.py` says what it learns,
`predict.py` shows it images. Only the abstract of the paper is public: each module says what it leaves open and what is
done here instead.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from histoseg.engines import Execution, require_eager
from histoseg.maps.windows import Windows
from histoseg.models.rotanet.targets import classes_of, eroded_target
from histoseg.models.taught import taught_objects
from histoseg.runs.config import require
from histoseg.store.objects import Store
from histoseg.structures import MPP
from histoseg.types import Image, InstanceMap, Target, Task

if TYPE_CHECKING:
    from torch import Tensor

    from histoseg.models.network import Network
    from histoseg.models.prediction import Prediction
    from histoseg.models.rotanet.network import RotaNet
    from histoseg.models.spec import Heads, RegionPredictor


@dataclass(frozen=True, kw_only=True)
class RotaNetSpec:
    """Settings of Rota-Net.

    Attributes:
        width: Features at full size, of four orientations each.
    """

    width: int = 16

    def __post_init__(self) -> None:
        require(self.width >= 1, "network.width", self.width, "1 or more")

    def build(self, tasks: Mapping[str, Task], seed: int, tissue_px: int) -> "RotaNet":  # noqa: ARG002  # every network's
        """A new network with a branch for each structure that the tasks teach.

        Raises:
            DataError: If a task teaches no objects.
        """
        return self._build(classes_of(taught_objects(tasks, "Rota-Net")), seed)

    def extend(self, network: "Network", tasks: Mapping[str, Task], seed: int) -> "RotaNet":
        """A copy of the network that also has branches for what these tasks teach."""
        from histoseg.models.network import require_kind
        from histoseg.models.rotanet.network import RotaNet, with_heads

        return with_heads(require_kind(network, RotaNet), classes_of(taught_objects(tasks, "Rota-Net")), seed)

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

    def starting_weights(self, store: Store) -> "Mapping[str, Tensor]":  # noqa: ARG002  # every network's
        """None: it starts from random numbers."""
        return {}

    def target(self, instance_map: InstanceMap, structure: str, mpp: float = MPP) -> Target:
        """What the branch of a structure learns from a patch at `mpp` microns per pixel."""
        return eroded_target(instance_map, structure, mpp)

    def predict(
        self, network: "RotaNet", image: Image, windows: Windows, *, heads: Collection[str] = (), mpp: float = MPP
    ) -> "Prediction":
        """The objects in a whole image, see `histoseg.models.rotanet.predict`.

        Raises:
            ConfigError: If windows overlap.
            DataError: If a branch produces NaN or infinite values.
        """
        from histoseg.models.opened_regions import require_margin
        from histoseg.models.rotanet.predict import regions_of
        from histoseg.models.whole_image import predict_objects

        regions = regions_of(network, heads, mpp)
        return predict_objects(regions, image, require_margin(windows, "Rota-Net"), regions.wanted)

    def regions(
        self,
        network: "RotaNet",
        *,
        heads: Collection[str] = (),
        mpp: float = MPP,
        execution: Execution | None = None,
    ) -> "RegionPredictor":
        """The objects in regions of a slide.

        Raises:
            ConfigError: If an engine or a precision is asked for: this network has one way to be run.
        """
        from histoseg.models.rotanet.predict import regions_of

        require_eager(execution, "Rota-Net")
        return regions_of(network, heads, mpp)


SPEC = RotaNetSpec
