"""Cerberus (Graham et al. 2023, Sec. 3.1): its settings. Data is prepared without torch.

`network.py` is the network itself, `targets.py` what it learns, `postprocess.py` how objects are made of its output.
"""

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from histoseg.errors import ConfigError, DataError
from histoseg.models.cerberus.targets import instance_target
from histoseg.runs.config import require
from histoseg.store.objects import Store
from histoseg.types import InstanceMap, Target, Task

if TYPE_CHECKING:
    from histoseg.models.cerberus.network import Cerberus

Encoder = Literal["resnet18", "resnet34", "resnet50", "unet"]
STRIDE_PX = 16  # Of the encoder's smallest features


@dataclass(frozen=True, kw_only=True)
class CerberusSpec:
    """An encoder shared by all structures, and a decoder for each.

    Attributes:
        width: Channels of the first features; 64 is the published network.
        weights: What training starts from: an object `weights/<name>.safetensors` in the store, or "imagenet" for the
            usual classification weights of the encoder; empty means random numbers.
        contour: Whether decoders also predict the border of objects ("Cerberus+").
    """

    encoder: Encoder = "resnet34"
    width: int = 64
    weights: str = ""
    contour: bool = False

    def __post_init__(self) -> None:
        require(self.width >= 4 and self.width % 4 == 0, "network.width", self.width, "a multiple of 4")
        is_published = self.width == 64 and self.encoder != "unet"
        require(
            self.weights != "imagenet" or is_published,
            "network.weights",
            self.weights,
            "empty unless the encoder is a ResNet of width 64",
        )
        named = re.fullmatch(r"|imagenet|[0-9a-f]{16}", self.weights) is not None
        require(named, "network.weights", self.weights, "empty, imagenet, or the 16 digits of weights in the store")

    def build(self, tasks: Mapping[str, Task], seed: int, tissue_px: int) -> "Cerberus":
        """A new network with a decoder for each structure that the tasks teach, and a head for tissue if one does.

        Raises:
            DataError: If tasks of tissue differ in their classes.
        """
        from histoseg.models.cerberus.network import CerberusParts, build

        kinds = {task.classes: name for name, task in tasks.items() if task.structure == "tissue"}
        if len(kinds) > 1:
            raise DataError(f"{' and '.join(kinds.values())} differ in their classes of tissue; prepare them again")
        structures = dict.fromkeys(task.structure for task in tasks.values() if task.structure not in ("", "tissue"))
        parts = CerberusParts(
            encoder=self.encoder,
            width=self.width,
            decoders=dict.fromkeys(structures, 3 if self.contour else 2),
            tissue=len(next(iter(kinds), ())),
            tissue_cells=tissue_px // STRIDE_PX,
        )
        return build(parts, seed)

    def target(self, instance_map: InstanceMap, structure: str) -> Target:
        """What the decoder of a structure learns from the objects in a patch."""
        return instance_target(instance_map, structure, self.contour)

    def extend(self, network: "Cerberus", tasks: Mapping[str, Task], seed: int) -> "Cerberus":  # noqa: ARG002  # every network's
        """A copy of the network.

        Raises:
            ConfigError: If the tasks teach a structure that the network has no decoder for.
        """
        known = {*network.decoders, *(["tissue"] if network.spec.tissue else [])}
        if lacking := sorted({task.structure for task in tasks.values()} - known):
            raise ConfigError(f"the network has no decoder for {', '.join(lacking)}; it has {', '.join(sorted(known))}")
        return deepcopy(network)

    def start(self, network: "Cerberus", store: Store) -> None:
        """Begin with the weights that are named, as far as they are of parts the network has."""
        from histoseg.models.weights import start_from

        start_from(network, self.weights, self.encoder, store)

    def fetch(self, store: Store) -> None:
        """Have the weights that are named in the store."""
        from histoseg.models.weights import find_weights

        if self.weights:
            find_weights(self.weights, self.encoder, store)

    def class_names(self, network: "Cerberus", tasks: Mapping[str, Task]) -> dict[str, tuple[str, ...]]:
        """The classes of tissue, and those of objects whose classes the network predicts."""
        named = {"tissue" if t.structure == "tissue" else f"{t.structure}_type": t.classes for t in tasks.values()}
        known = {*network.decoders, *(["tissue"] if network.spec.tissue else [])}
        return {name: classes for name, classes in named.items() if name in known}


SPEC = CerberusSpec
