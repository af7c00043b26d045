"""What a network's folder offers as SPEC: settings from which the network is built, and what can be done with it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from torch import Tensor, nn

from histoseg.engines import Execution
from histoseg.errors import ConfigError
from histoseg.maps.evidence import RegionEvidence, Separator
from histoseg.maps.windows import Window, Windows
from histoseg.models.network import Network
from histoseg.models.prediction import ClassifiedObjects, Detections, Prediction
from histoseg.representation.patches import ObjectPatches
from histoseg.runs.config import Run, Settings, public_name
from histoseg.store.objects import Store
from histoseg.structures import TISSUE
from histoseg.types import Image, InstanceMap, MixedBatch, Place, Task


@dataclass(frozen=True, kw_only=True)
class Heads:
    """What a network predicts; together with its settings enough to build it.

    Attributes:
        num_classes: How many classes each head predicts, by its name.
        tissue_px: Side of the square that the head for tissue gives one class to; of no effect without such a head.
        branches: By the name of a head that is put on the branch of another one, the name of that one.
    """

    num_classes: Mapping[str, int]
    tissue_px: int = 0
    branches: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class RegionPredictor(Separator, Protocol):
    """What a network says about regions of a slide, and how objects are made of it.

    Attributes:
        tasks: Those whose classes of pixels it predicts.
        square_px: Side of the squares that tissue is predicted for; 0 without a head for tissue.
        unit_px: What the sides of windows must be multiples of.
    """

    @property
    def tasks(self) -> tuple[str, ...]: ...

    @property
    def square_px(self) -> int: ...

    @property
    def unit_px(self) -> int: ...

    def num_types(self, structure: str) -> int:
        """How many classes the objects of a structure have, background included; 0 without classes."""

    def evidence(self, image: Image, windows: Sequence[Window], size_px: tuple[int, int]) -> RegionEvidence:
        """What the network says about a region.

        Args:
            image: The region, or the region and the windows' margin on every side.
            windows: Of one size, in pixels of the region; they may reach beyond its lower and right border.
            size_px: Height and width of the region.
        """


@runtime_checkable
class NetworkSpec(Settings, Protocol):
    """Settings of a network: a frozen dataclass, named SPEC in `histoseg/models/<name>/__init__.py`."""

    def build(self, tasks: Mapping[str, Task], seed: int, tissue_px: int) -> Network:
        """A new network with heads for some tasks."""

    def extend(self, network: Network, tasks: Mapping[str, Task], seed: int) -> Network:
        """A copy of a trained network with the heads that other tasks need."""

    def heads(self, network: Network) -> Heads:
        """The heads of a network of these settings."""

    def rebuild(self, heads: Heads) -> Network:
        """A network with such heads, whose weights are still to be loaded."""

    def starting_weights(self, store: Store) -> Mapping[str, Tensor]:
        """The weights that training starts from, by the name of the tensor; none mean random numbers.

        Raises:
            StorageError: If they are neither in the store nor to be downloaded.
        """

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

    def regions(
        self, network: Network, *, heads: Collection[str] = (), mpp: float = 0.0, execution: Execution | None = None
    ) -> RegionPredictor:
        """The same for regions of a slide, whose objects are made one by one; arguments are those of `predict`.

        Args:
            network: A network of these settings, not in training.
            heads: Names of the structures or tasks to predict; empty means all.
            mpp: Microns per pixel of the slide as the network sees it; 0 if unknown.
            execution: How the network is run; None means as in `predict`.
        """


def network_of(run: Run) -> NetworkSpec:
    """The settings of a run's network."""
    if not isinstance(run.network, NetworkSpec):
        raise TypeError(f"{type(run.network).__name__} does not describe a network: it lacks build, extend or predict")
    return run.network


@runtime_checkable
class MixedLearner(Protocol):
    """A network that learns structures from steps of patches, as `MultiTask` draws them.

    Its settings say what it learns of each patch: their method `target`, see `histoseg.loaders.mixed`.

    Attributes:
        encoder: What all its decoders share; `MultiTask(trains="decoders")` leaves its weights as they are.
    """

    encoder: nn.Module

    def step_loss(self, batch: MixedBatch, weights: Mapping[str, float], *, masked: bool = False) -> Tensor:
        """This rank's share of the loss of a step; summed over ranks, it is that of the whole step.

        Args:
            batch: This rank's patches, perhaps none.
            weights: What the mean loss of a structure counts; 1 where it is not named.
            masked: Whether heads without a patch in the step are run too, for their running statistics alone.
        """


def learner_of(network: Network) -> MixedLearner:
    """The network, which learns structures from steps of patches."""
    if not isinstance(network, MixedLearner):
        raise ConfigError(f"method multitask trains no {type(network).__name__}: name a network that learns structures")
    return network


@runtime_checkable
class ClassifierSpec(Protocol):
    """Settings of a network that also predicts one class for a whole patch."""

    def classify(self, network: Network, patches: UInt8[np.ndarray, "B H W 3"]) -> Float64[np.ndarray, "B K"]:
        """The probability of each class for each patch."""


def classifier_of(run: Run) -> ClassifierSpec:
    """The settings of a run's network, which predicts classes of patches."""
    if not isinstance(run.network, ClassifierSpec):
        raise ConfigError(f"network {public_name(run.network)!r} predicts no classes of patches; leave {TISSUE} out")
    return run.network


@runtime_checkable
class ObjectClassifierSpec(Protocol):
    """Settings of a network that also predicts the classes of objects that are known."""

    def classify_objects(
        self, network: Network, image: Image, instance_map: InstanceMap, structure: str, windows: Windows
    ) -> ClassifiedObjects:
        """The class of each object of the map.

        Args:
            network: A network of these settings, not in training.
            image: At the resolution that the network was trained at.
            instance_map: The objects.
            structure: What they are.
            windows: How the image is divided, for networks that see it window by window.

        Raises:
            ConfigError: If the network was not trained for classes of that structure.
        """


@runtime_checkable
class FeatureClassifierSpec(Protocol):
    """Settings of a network that predicts classes of given objects by features that training leaves as they are."""

    def features_about(
        self, network: Network, sets: Sequence[ObjectPatches], store: Store, place: Place
    ) -> Float32[np.ndarray, "N F"]:
        """The features of patches about objects, set by set; all ranks call it alike, and the store keeps them."""

    def classify_features(
        self, network: Network, features: Float32[np.ndarray, "N F"], structure: str
    ) -> ClassifiedObjects:
        """The class of each object.

        Raises:
            ConfigError: If the network was not trained for classes of that structure.
        """


def object_classifier_of(run: Run) -> ObjectClassifierSpec | FeatureClassifierSpec:
    """The settings of a run's network, which predicts classes of objects."""
    if not isinstance(run.network, ObjectClassifierSpec | FeatureClassifierSpec):
        raise ConfigError(f"network {public_name(run.network)!r} predicts no classes of objects; score it by objects")
    return run.network


@runtime_checkable
class DifficultySpec(Protocol):
    """Settings of a network that says where in an image it is unsure."""

    def difficulty(
        self, network: Network, image: Image, windows: Windows, structure: str
    ) -> Float32[np.ndarray, "H W"]:
        """How unsure the head of a structure is of each pixel, from 0 (certain) to 1 (every class as probable)."""


def difficulty_spec_of(settings: Settings) -> DifficultySpec:
    """The settings of a network, which says where it is unsure."""
    if not isinstance(settings, DifficultySpec):
        raise ConfigError(
            f"network {public_name(settings)!r} does not say where it is unsure; choose at random (--strategy random)"
        )
    return settings


@runtime_checkable
class DetectorSpec(Protocol):
    """Settings of a network that finds boxes around objects."""

    def detect(self, network: Network, image: Image, windows: Windows) -> Detections:
        """The boxes in a whole image.

        Args:
            network: A network of these settings, not in training.
            image: At the resolution that the network was trained at.
            windows: How the image is divided.
        """


def detector_of(run: Run) -> DetectorSpec:
    """The settings of a run's network, which finds boxes."""
    if not isinstance(run.network, DetectorSpec):
        raise ConfigError(f"network {public_name(run.network)!r} finds no boxes; name one that does, as retinanet")
    return run.network
