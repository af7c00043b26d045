"""Cerberus (Graham et al. 2023, Sec. 3.1): its settings. Data is prepared without torch, so that is imported later.

`network.py`, `encoder.py` and `decoders.py` are the network, `targets.py` says what it learns, `postprocess.py` makes
objects of what it predicts, `regions.py` and `predict.py` do so for regions of a slide and for whole images,
`starting.py` and `published.py` read weights.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from histoseg.engines import Execution
from histoseg.errors import DataError
from histoseg.maps.windows import Windows, require_margin
from histoseg.models.cerberus.targets import instance_target
from histoseg.runs.config import require
from histoseg.store.objects import Store
from histoseg.structures import MPP, TISSUE
from histoseg.types import Image, InstanceMap, Target, Task

if TYPE_CHECKING:
    from torch import Tensor

    from histoseg.models.cerberus.network import Cerberus, CerberusParts
    from histoseg.models.network import Network
    from histoseg.models.prediction import ClassifiedObjects, Prediction
    from histoseg.models.spec import Heads, RegionPredictor

Encoder = Literal["resnet18", "resnet34", "resnet50", "unet"]


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
        """A new network with a decoder for each structure that the tasks teach, and a head for tissue if one does."""
        from histoseg.models.cerberus.network import build
        from histoseg.models.spec import Heads

        heads = Heads(num_classes=_heads_of(tasks, 3 if self.contour else 2), tissue_px=tissue_px)
        return build(self._parts(heads), seed)

    def extend(self, network: "Cerberus", tasks: Mapping[str, Task], seed: int) -> "Cerberus":
        """A copy of the network that also has what these tasks need; heads that fit stay as they are."""
        from histoseg.models.cerberus.network import with_heads

        before = self.heads(network)
        heads = replace(before, num_classes={**before.num_classes, **_heads_of(tasks, 3 if self.contour else 2)})
        return with_heads(network, self._parts(heads), seed)

    def heads(self, network: "Network") -> "Heads":
        """How many classes each decoder predicts, and the head for tissue if there is one."""
        from histoseg.models.cerberus.network import STRIDE_PX, Cerberus
        from histoseg.models.network import require_kind
        from histoseg.models.spec import Heads

        parts = require_kind(network, Cerberus).parts
        tissue = {TISSUE: parts.tissue} if parts.tissue else {}
        tissue_px = parts.tissue_cells * STRIDE_PX
        return Heads(num_classes={**parts.decoders, **tissue}, tissue_px=tissue_px, branches=parts.branches)

    def rebuild(self, heads: "Heads") -> "Cerberus":
        from histoseg.models.cerberus.network import build

        return build(self._parts(heads), 0)

    def _parts(self, heads: "Heads") -> "CerberusParts":
        from histoseg.models.cerberus.network import STRIDE_PX, CerberusParts

        return CerberusParts(
            encoder=self.encoder,
            width=self.width,
            decoders={name: count for name, count in heads.num_classes.items() if name != TISSUE},
            branches=heads.branches,
            tissue=heads.num_classes.get(TISSUE, 0),
            tissue_cells=heads.tissue_px // STRIDE_PX,
        )

    def starting_weights(self, store: Store) -> "Mapping[str, Tensor]":
        from histoseg.models.starting import find_weights

        return find_weights(self.weights, self.encoder, store) if self.weights else {}

    def target(self, instance_map: InstanceMap, structure: str, mpp: float = MPP) -> Target:
        """What the decoder of a structure learns from a patch at `mpp` microns per pixel."""
        return instance_target(instance_map, structure, self.contour, mpp)

    def predict(
        self, network: "Cerberus", image: Image, windows: Windows, *, heads: Collection[str] = (), mpp: float = MPP
    ) -> "Prediction":
        """The objects and the tissue in a whole image, see `histoseg.models.cerberus.predict`.

        Raises:
            ConfigError: If windows overlap.
            DataError: If a decoder produces NaN or infinite values.
        """
        from histoseg.models.cerberus.predict import predict

        return predict(network, image, require_margin(windows, "Cerberus"), heads, mpp)

    def regions(
        self,
        network: "Cerberus",
        *,
        heads: Collection[str] = (),
        mpp: float = MPP,
        execution: Execution | None = None,
    ) -> "RegionPredictor":
        from histoseg.models.cerberus.regions import CerberusRegions

        return CerberusRegions(network, mpp, tuple(heads), execution=execution)

    def classify(self, network: "Cerberus", patches: UInt8[np.ndarray, "B H W 3"]) -> Float64[np.ndarray, "B K"]:
        from histoseg.models.cerberus.predict import classify

        return classify(network, patches)

    def classify_objects(
        self, network: "Cerberus", image: Image, instance_map: InstanceMap, structure: str, windows: Windows
    ) -> "ClassifiedObjects":
        """The classes of given objects, see `histoseg.models.cerberus.predict`."""
        from histoseg.models.cerberus.predict import classify_objects

        return classify_objects(network, image, instance_map, structure, require_margin(windows, "Cerberus"))

    def difficulty(
        self, network: "Cerberus", image: Image, windows: Windows, structure: str
    ) -> Float32[np.ndarray, "H W"]:
        """How unsure the decoder of a structure is of each pixel, see `histoseg.models.cerberus.difficulty`.

        Raises:
            ConfigError: If windows overlap, or the network has no decoder for the structure.
            DataError: If a decoder produces NaN or infinite values.
        """
        from histoseg.models.cerberus.difficulty import difficulty

        return difficulty(network, image, require_margin(windows, "Cerberus"), structure)


def _heads_of(tasks: Mapping[str, Task], num_classes: int) -> dict[str, int]:
    """The heads that tasks need: one of as many classes for each structure of objects, and one for tissue."""
    kinds = {task.classes: name for name, task in tasks.items() if task.structure == TISSUE}
    if len(kinds) > 1:
        raise DataError(f"{' and '.join(kinds.values())} differ in their classes of tissue; prepare them again")
    names = dict.fromkeys(task.structure for task in tasks.values() if task.structure not in ("", TISSUE))
    tissue = {TISSUE: len(next(iter(kinds)))} if kinds else {}
    return {**dict.fromkeys(names, num_classes), **tissue}


SPEC = CerberusSpec
