"""Two fully connected layers on the pooled features of an encoder: its settings. Torch is imported later.

They classify patches about objects, on features that stay as they are (Graham et al. 2023, Cerberus, Sec. 3.3.1), or
they are the projection by which SimCLR trains an encoder (Chen et al. 2020). `network.py` is the network,
`timm_encoder.py` wraps encoders of the package timm, `classify.py` gives classes to objects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from jaxtyping import Float32

from histoseg.errors import ConfigError, DataError
from histoseg.models.probe.names import PRETRAINED, RESNETS, TIMM
from histoseg.runs.config import Run, public_name, require
from histoseg.store.objects import Store
from histoseg.types import Place, Task

if TYPE_CHECKING:
    from torch import Tensor

    from histoseg.models.network import Network
    from histoseg.models.prediction import ClassifiedObjects
    from histoseg.models.probe.network import Probe
    from histoseg.models.spec import Heads
    from histoseg.representation.patches import ObjectPatches

FINDS_NOTHING = (
    "a model of the kind probe classifies patches about objects and finds none; give a model of the kind cerberus; "
    "`histoseg features` takes this one's features of objects that --objects names by a folder"
)


@dataclass(frozen=True, kw_only=True)
class ProbeSpec:
    """An encoder, and two fully connected layers on its pooled features.

    Attributes:
        encoder: One of RESNETS, which are those of Cerberus, or a name of timm's, as "timm/vit_small_patch16_224".
        width: Channels of a ResNet's first features; of no effect with timm.
        weights: What a first stage starts from: an object `weights/<name>.safetensors` in the store, "imagenet" for the
            usual weights of a ResNet, "pretrained" for those that timm knows; empty means random numbers.
        depths: How many of the encoder's depths are pooled, see `histoseg.representation.pool`.
        hidden: Numbers between the two layers; 256 is that of Cerberus' patch classification (Sec. 3.1).
        patch_px: Side of the patches about objects (Sec. 4.3.3).
    """

    encoder: str = "resnet34"
    width: int = 64
    weights: str = ""
    depths: int = 4
    hidden: int = 256
    patch_px: int = 32

    def __post_init__(self) -> None:
        known = self.encoder in RESNETS or self.encoder.startswith(TIMM)
        require(known, "network.encoder", self.encoder, f"{', '.join(RESNETS)} or {TIMM}NAME")
        require(self.width >= 4 and self.width % 4 == 0, "network.width", self.width, "a multiple of 4")
        require(1 <= self.depths <= 4, "network.depths", self.depths, "within 1 and 4")
        require(self.hidden >= 1, "network.hidden", self.hidden, "1 or more")
        require(self.patch_px >= 16, "network.patch_px", self.patch_px, "16 or more")
        usual = PRETRAINED if self.is_timm else "imagenet"
        fits = self.weights in ("", usual) or (len(self.weights) == 16 and set(self.weights) <= set("0123456789abcdef"))
        require(fits, "network.weights", self.weights, f"empty, {usual}, or the 16 digits of weights in the store")
        is_published = self.weights != "imagenet" or self.width == 64
        require(is_published, "network.weights", self.weights, "empty unless the encoder is a ResNet of width 64")

    @property
    def is_timm(self) -> bool:
        """Whether the encoder is one of timm's."""
        return self.encoder.startswith(TIMM)

    def build(self, tasks: Mapping[str, Task], seed: int, tissue_px: int) -> "Probe":  # noqa: ARG002  # every network's
        """A new network that predicts the classes of the tasks' objects."""
        return self.with_outputs(outputs_of(tasks), seed)

    def extend(self, network: "Probe", tasks: Mapping[str, Task], seed: int) -> "Probe":
        """A network that predicts the classes of the tasks' objects, with another one's encoder."""
        return self.with_outputs(outputs_of(tasks), seed).with_encoder_of(network)

    def with_outputs(self, outputs: Mapping[str, int], seed: int) -> "Probe":
        """A new network whose heads give so many numbers each."""
        from histoseg.models.probe.network import ProbeParts, build

        parts = ProbeParts(
            encoder=self.encoder, width=self.width, depths=self.depths, hidden=self.hidden, outputs=outputs
        )
        return build(parts, seed)

    def heads(self, network: "Network") -> "Heads":
        """How many classes each head predicts, background left out."""
        from histoseg.models.network import require_kind
        from histoseg.models.probe.network import Probe
        from histoseg.models.spec import Heads

        return Heads(num_classes=dict(require_kind(network, Probe).parts.outputs))

    def rebuild(self, heads: "Heads") -> "Probe":
        return self.with_outputs(heads.num_classes, 0)

    def starting_weights(self, store: Store) -> "Mapping[str, Tensor]":
        if not self.weights:
            return {}
        if self.is_timm:
            from histoseg.models.probe.timm_encoder import find_timm_weights

            return find_timm_weights(self.weights, self.encoder.removeprefix(TIMM), store)
        from histoseg.models.starting import find_weights

        return find_weights(self.weights, self.encoder, store)

    def features_about(
        self, network: "Probe", sets: "Sequence[ObjectPatches]", store: Store, place: Place
    ) -> Float32[np.ndarray, "N F"]:
        """The features of patches about objects, which the store keeps."""
        from histoseg.representation.objects import features_about

        return features_about(network, sets, self.patch_px, store, place)

    def classify_features(
        self, network: "Probe", features: Float32[np.ndarray, "N F"], structure: str
    ) -> "ClassifiedObjects":
        """The class of each object, from its features."""
        from histoseg.models.probe.classify import classify_features

        return classify_features(network, features, structure)

    def predict(self, *_: object, **__: object) -> NoReturn:
        """No network of this kind finds objects.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(FINDS_NOTHING)

    def regions(self, *_: object, **__: object) -> NoReturn:
        """No network of this kind finds objects.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(FINDS_NOTHING)


def outputs_of(tasks: Mapping[str, Task]) -> dict[str, int]:
    """The head that some tasks' objects need: one for their classes without the background.

    Raises:
        DataError: If they are not of one structure with the same classes.
    """
    kinds = {(task.structure, task.classes) for task in tasks.values()}
    if len(kinds) != 1:
        raise DataError(f"{', '.join(tasks)} do not have the same classes of objects, which a probe learns")
    ((structure, classes),) = kinds
    return {f"{structure}_type": len(classes) - 1}


def probe_of(run: Run) -> ProbeSpec:
    """The settings of a run's network, which must be a probe."""
    if not isinstance(run.network, ProbeSpec):
        found = public_name(run.network)
        raise ConfigError(
            f"network {found!r} is no encoder with two layers; give the stage a network of the kind probe"
        )
    return run.network


SPEC = ProbeSpec
