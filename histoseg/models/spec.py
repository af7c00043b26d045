"""What a network's folder offers as SPEC: settings from which the network is built, and what can be done with it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor

from histoseg.maps.windows import Windows
from histoseg.models.network import Network
from histoseg.models.prediction import Prediction
from histoseg.store.objects import Store
from histoseg.types import Image, Task


@dataclass(frozen=True, kw_only=True)
class Heads:
    """What a network predicts; together with its settings enough to build it.

    Attributes:
        num_classes: How many classes each head predicts, by its name.
        tissue_px: Side of the square that the head for tissue gives one class to; of no effect without such a head.
    """

    num_classes: Mapping[str, int]
    tissue_px: int = 0


@runtime_checkable
class NetworkSpec(Protocol):
    """Settings of a network: a frozen dataclass, named SPEC in `histoseg/models/<name>/__init__.py`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def build(self, tasks: Mapping[str, Task], seed: int, tissue_px: int) -> Network:
        """A new network with heads for some tasks."""
        ...

    def extend(self, network: Network, tasks: Mapping[str, Task], seed: int) -> Network:
        """A copy of a trained network with the heads that other tasks need."""
        ...

    def heads(self, network: Network) -> Heads:
        """The heads of a network of these settings."""
        ...

    def rebuild(self, heads: Heads) -> Network:
        """A network with such heads, whose weights are still to be loaded."""
        ...

    def starting_weights(self, store: Store) -> Mapping[str, Tensor]:
        """The weights that training starts from, by the name of the tensor; none mean random numbers.

        Raises:
            StorageError: If they are neither in the store nor to be downloaded.
        """
        ...

    def predict(
        self, network: Network, image: Image, windows: Windows, *, heads: Collection[str] = (), mpp: float = 0.0
    ) -> Prediction:
        """What the network predicts in a whole image.

        Args:
            network: A network of these settings, not in training.
            image: At the resolution that the network was trained at.
            windows: How the image is divided.
            heads: Names of the structures or tasks to predict; empty means all.
            mpp: Microns per pixel of the image; 0 if unknown.
        """
        ...
