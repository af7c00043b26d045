"""Settings that networks of objects share, if they are run in one way only."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol

from histoseg.engines import Execution, require_eager
from histoseg.maps.windows import PUBLISHED_MARGIN_PX, MarginWindows, Windows, require_margin
from histoseg.store.objects import Store
from histoseg.structures import MPP
from histoseg.types import Image

if TYPE_CHECKING:
    from torch import Tensor

    from histoseg.models.network import Network
    from histoseg.models.prediction import Prediction
    from histoseg.models.spec import RegionPredictor

    class ObjectRegions(RegionPredictor, Protocol):
        """What a network says about regions.

        Attributes:
            wanted: The structures that are asked for; there may be evidence of others, which these lie within.
        """

        @property
        def wanted(self) -> tuple[str, ...]: ...


class ObjectsSpec(ABC):
    """Settings of a network that finds objects. Subclasses give `title` and `_regions`; the rest follows.

    Attributes:
        title: What the network is called in messages.
    """

    title: ClassVar[str]

    @property
    def usual_margin_px(self) -> int:
        """The margin that the message suggests where windows have none."""
        return PUBLISHED_MARGIN_PX

    @abstractmethod
    def _regions(self, network: "Network", heads: Collection[str], mpp: float) -> "ObjectRegions":
        """What the network says about regions at `mpp` microns per pixel; without heads of all structures."""

    def starting_weights(self, store: Store) -> "Mapping[str, Tensor]":  # noqa: ARG002  # every network's
        """None: it starts from random numbers."""
        return {}

    def predict(
        self, network: "Network", image: Image, windows: Windows, *, heads: Collection[str] = (), mpp: float = MPP
    ) -> "Prediction":
        """The objects in a whole image.

        Raises:
            ConfigError: If windows overlap, or their margin is too small for the network.
            DataError: If the network produces NaN or infinite values.
        """
        from histoseg.models.whole_image import predict_objects

        regions = self._regions(network, heads, mpp)
        return predict_objects(regions, image, self.with_margin(windows), regions.wanted)

    def regions(
        self,
        network: "Network",
        *,
        heads: Collection[str] = (),
        mpp: float = MPP,
        execution: Execution | None = None,
    ) -> "RegionPredictor":
        """The objects in regions of a slide.

        Raises:
            ConfigError: If an engine or a precision is asked for: this network has one way to be run.
        """
        require_eager(execution, self.title)
        return self._regions(network, heads, mpp)

    def with_margin(self, windows: Windows) -> MarginWindows:
        """The windows, see `require_margin`."""
        return require_margin(windows, self.title, self.usual_margin_px)
