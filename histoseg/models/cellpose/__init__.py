"""Cellpose (Stringer et al. 2021, Nature Methods 18), by its own package: its settings.

The package `cellpose` has the network, what it learns and how objects are made of it; it is the optional extra of that
name. The patches, the loop, the records and the scores are this project's. `network.py` holds the package's network,
`targets.py` and `loss.py` say what it learns, `predict.py` makes objects. docs/comparators.md says what differs.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from histoseg.errors import ConfigError, DataError
from histoseg.maps.windows import Windows, require_margin
from histoseg.models.cellpose.targets import flow_target
from histoseg.models.taught import require_sides, taught_objects
from histoseg.runs.config import require
from histoseg.store.objects import Store
from histoseg.structures import MPP
from histoseg.types import Image, InstanceMap, Target, Task

if TYPE_CHECKING:
    from torch import Tensor

    from histoseg.models.cellpose.network import Cellpose, CellposeParts
    from histoseg.models.network import Network
    from histoseg.models.prediction import Prediction
    from histoseg.models.spec import Heads

STRIDE_PX = 8  # Of the network's smallest features


@dataclass(frozen=True, kw_only=True)
class CellposeSpec:
    """A network for the objects of one structure.

    Attributes:
        width: Channels of the first features; 32 is the published network.
        enlarge: How many times larger than stored the network sees images. The package scales images so that objects
            have a mean diameter of 30 pixels; nuclei at 0.5 µm per pixel have about half of that.
    """

    width: int = 32
    enlarge: int = 2

    def __post_init__(self) -> None:
        require(self.width >= 1, "network.width", self.width, "1 or more")
        require(1 <= self.enlarge <= 8, "network.enlarge", self.enlarge, "1 to 8")

    def build(self, tasks: Mapping[str, Task], seed: int, tissue_px: int) -> "Cellpose":  # noqa: ARG002  # every network's
        """A new network for the one structure that the tasks teach.

        Raises:
            ConfigError: If the package is not installed.
            DataError: If the tasks teach several structures, or something else than objects.
        """
        from histoseg.models.cellpose.network import build

        return build(self._parts(_taught(tasks)), seed)

    def extend(self, network: "Network", tasks: Mapping[str, Task], seed: int) -> "Cellpose":
        """A copy of the network; a new one if the tasks teach another structure, as Cellpose has no separate heads."""
        from histoseg.models.cellpose.network import Cellpose, build
        from histoseg.models.network import require_kind

        before, parts = require_kind(network, Cellpose), self._parts(_taught(tasks))
        fresh = build(parts, seed)
        if parts == before.parts:
            fresh.load_state_dict(before.state_dict())
        return fresh

    def heads(self, network: "Network") -> "Heads":
        """Background and object, of its structure."""
        from histoseg.models.cellpose.network import Cellpose
        from histoseg.models.network import require_kind
        from histoseg.models.spec import Heads

        return Heads(num_classes={require_kind(network, Cellpose).parts.structure: 2})

    def rebuild(self, heads: "Heads") -> "Cellpose":
        from histoseg.models.cellpose.network import build

        (structure,) = heads.num_classes
        return build(self._parts(structure), 0)

    def _parts(self, structure: str) -> "CellposeParts":
        from histoseg.models.cellpose.network import CellposeParts

        return CellposeParts(structure=structure, width=self.width, enlarge=self.enlarge)

    def starting_weights(self, store: Store) -> "Mapping[str, Tensor]":  # noqa: ARG002  # every network's
        """None: it starts from random numbers, as the package does unless it is given a model."""
        return {}

    def target(self, instance_map: InstanceMap, structure: str, mpp: float = MPP) -> Target:  # noqa: ARG002  # every network's
        """Which pixels are of objects, and the direction in which each flows to the centre of its object.

        Raises:
            ConfigError: If the network cannot take such a patch.
        """
        require_sides(instance_map, STRIDE_PX, "Cellpose")
        return flow_target(instance_map)

    def predict(
        self,
        network: "Cellpose",
        image: Image,
        windows: Windows,
        *,
        heads: Collection[str] = (),
        mpp: float = MPP,  # noqa: ARG002  # every network's
    ) -> "Prediction":
        """The objects in a whole image, see `histoseg.models.cellpose.predict`.

        Raises:
            ConfigError: If windows overlap.
            DataError: If the network produces NaN or infinite values.
        """
        from histoseg.models.cellpose.predict import predict_objects

        return predict_objects(network, image, require_margin(windows, "Cellpose"), heads)

    def regions(self, *_: object, **__: object) -> NoReturn:
        """Refused: the package follows pixels over a whole image.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "Cellpose follows each pixel's way over a whole image, so its model is scored on images but segments no "
            "slides here; use the package's own command for that, or name a model of another network"
        )


def _taught(tasks: Mapping[str, Task]) -> str:
    """The one structure that tasks teach."""
    found = taught_objects(tasks, "Cellpose")
    if len(found) != 1:
        raise DataError(f"{', '.join(tasks)} teach {', '.join(found)}; give Cellpose sources of one structure")
    return found[0]


SPEC = CellposeSpec
