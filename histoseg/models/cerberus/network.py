"""Cerberus: one encoder, and for each structure a decoder that adds the encoder's features on its way up.

Graham et al. 2023, Sec. 3.1. What the paper leaves open is as in its published code: skips are added, not
concatenated; the encoder's stem has stride 1; images enter as numbers from 0 to 1. The five tasks of the paper, with
contours, have 26,601,689 parameters (the published count of 27.1 M holds 513,000 of a classifier that nothing uses).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from histoseg.models.cerberus.crop import Crop
from histoseg.models.cerberus.decoders import BranchHead, Decoder, TissueHead
from histoseg.models.cerberus.loss import draw_kept
from histoseg.models.encoder import build_encoder
from histoseg.models.initial import drawn, with_weights_of
from histoseg.models.network import Network
from histoseg.models.step import by_structure, losses_of
from histoseg.models.tensors import device_of, to_device
from histoseg.structures import TISSUE
from histoseg.types import MixedBatch

STRIDE_PX = 16  # Of the encoder's smallest features


@dataclass(frozen=True, kw_only=True)
class CerberusParts:
    """All that a Cerberus is built from.

    Attributes:
        encoder: One of the encoders of `histoseg.models.encoder`.
        width: Channels of the first features.
        decoders: How many classes the decoder of that name predicts. A decoder with the name of a structure separates
            its objects, one with the name of its `type_decoder` predicts their classes.
        branches: By the name of a decoder without stages of its own, the decoder whose features it takes: the published
            "PixelA" is a head for classes on the branch that separates the objects, "PixelB" a decoder of its own.
        tissue: Classes of tissue; 0 means that the network has no head for it.
        tissue_cells: Side of the square of the encoder's smallest features that one class of tissue is predicted for.
    """

    encoder: str = "resnet34"
    width: int = 64
    decoders: Mapping[str, int] = field(default_factory=dict)
    branches: Mapping[str, str] = field(default_factory=dict)
    tissue: int = 0
    tissue_cells: int = 9  # 144 pixels at a sixteenth

    def __post_init__(self) -> None:
        for name, branch in self.branches.items():
            if name not in self.decoders or branch not in self.decoders or branch in self.branches:
                whole = ", ".join(each for each in self.decoders if each not in self.branches)
                raise ValueError(f"decoder {name!r} is to stand on {branch!r}; choose from {whole}")


class Cerberus(Network):
    """The network. `encode` once, then `decode` for each decoder that is wanted."""

    has_depths = True  # See `histoseg.representation.pool.Encoding`.

    def __init__(self, parts: CerberusParts) -> None:
        super().__init__()
        self.parts = parts
        self.trains_only = ""
        self.encoder = build_encoder(parts.encoder, parts.width)
        *skips, bottom = self.encoder.widths
        self.conv_map = nn.Conv2d(bottom, skips[-1], 1, bias=False)
        self.decoders = nn.ModuleDict(
            {
                name: BranchHead(skips[0], count) if name in parts.branches else Decoder(skips, count)
                for name, count in parts.decoders.items()
            }
        )
        self.tissue = TissueHead(bottom, parts.tissue) if parts.tissue else None

    def encode(self, images: UInt8[Tensor, "B H W 3"]) -> list[Tensor]:
        """Features (B, C_i, H / 2^i, W / 2^i), i = 0 to 4, of images as stored; sides must be multiples of 16."""
        with self._precision(images.device):
            features: list[Tensor] = self.encoder(images.permute(0, 3, 1, 2).to(self.conv_map.weight.dtype) / 255)
        return features

    def decode(self, features: list[Tensor], name: str, crop: Crop | None = None) -> Float[Tensor, "B C H W"]:
        """Logits of one decoder, at full size or of a part."""
        return self.decode_all(features, (name,), crop)[0]

    def decode_all(
        self, features: list[Tensor], names: Sequence[str], crop: Crop | None = None
    ) -> list[Float[Tensor, "B _ H W"]]:
        """Logits of several decoders; the features of a branch that several need are computed once."""
        smallest = features[-1] if crop is None else crop.smallest(features[-1])
        shared = dict.fromkeys(branch for name, branch in self.parts.branches.items() if name in names)
        with self._precision(smallest.device):
            mapped = [*features[:-1], self.conv_map(smallest)]
            climbed = {branch: self._branch(branch).climb(mapped, crop) for branch in shared}
            found = [self._logits(name, mapped, crop, climbed) for name in names]
        return [logits.to(self.conv_map.weight.dtype) for logits in found]

    def _logits(self, name: str, mapped: list[Tensor], crop: Crop | None, climbed: Mapping[str, Tensor]) -> Tensor:
        """Logits of one decoder, by way of the branch's features if they are known."""
        if name in self.parts.branches:
            logits: Tensor = self.decoders[name](climbed[self.parts.branches[name]])
        elif name in climbed:
            logits = self._branch(name).head(climbed[name])
        else:
            logits = self.decoders[name](mapped, crop)
        return logits

    def classify(self, features: list[Tensor], kept: Bool[Tensor, "B F"] | None = None) -> Float[Tensor, "B K I J"]:
        """Logits of the class of tissue, one for each whole square of `tissue_cells` cells.

        `kept` are the features that dropout leaves, drawn with the batch so that any number of ranks draws the same.
        """
        if self.tissue is None:
            raise ValueError("this network has no head for tissue")
        with self._precision(features[0].device):
            logits: Tensor = self.tissue(nn.functional.avg_pool2d(features[-1], self.parts.tissue_cells), kept)
        return logits.to(self.conv_map.weight.dtype)

    def forward(self, images: UInt8[Tensor, "B H W 3"]) -> dict[str, Tensor]:
        """Logits of every decoder at full size and, as "tissue", of the class of the square in the middle."""
        features = self.encode(images)
        logits = dict(zip(self.decoders, self.decode_all(features, tuple(self.decoders)), strict=True))
        if self.tissue is not None:
            logits["tissue"] = self.classify([self.middle(features)])
        return logits

    def step_loss(self, batch: MixedBatch, weights: Mapping[str, float], *, masked: bool = False) -> Float[Tensor, ""]:
        """This rank's share of Eq. 1, see `MixedLearner`; `masked` is a field of `MultiTask`.

        The loss of a structure is the mean over the patches that own it, on all ranks: a rank with fewer of them must
        not weigh them more.
        """
        features = self.encode(to_device(batch.images, device_of(self)))
        total = features[0].new_zeros((), dtype=torch.float32)
        parts = by_structure(features, batch)
        for structure, count in batch.counts.items():
            if masked and structure != TISSUE:
                logits = self.decode(features, structure)[batch.owned(structure)]
            else:
                logits = self._own_logits(parts[structure], batch, structure)
            total = total + weights.get(structure, 1.0) * losses_of(logits, batch, structure).sum() / count
        if masked:
            self._follow(features, batch)
        return total

    def _own_logits(self, features: list[Tensor], batch: MixedBatch, structure: str) -> Float[Tensor, "B C P Q"]:
        """Logits of a structure's head for that structure's patches, from their features."""
        if structure != TISSUE:
            return self.decode(features, structure)
        kept = draw_kept(batch.seeds[batch.owned(structure)], features[-1].shape[1])
        return self.classify(features, to_device(kept, features[-1].device))

    @torch.no_grad()
    def _follow(self, features: list[Tensor], batch: MixedBatch) -> None:
        """Run the heads that have no patch in the step, whose running statistics move as in the published code."""
        for name in self.decoders:
            if name not in batch.counts:
                self.decode(features, name)
        has_square = features[-1].shape[2] >= self.parts.tissue_cells  # Patches may be smaller than those of tissue.
        if self.tissue is not None and TISSUE not in batch.counts and has_square:
            kept = draw_kept(batch.seeds, features[-1].shape[1])
            self.classify([self.middle(features)], to_device(kept, features[-1].device))

    def middle(self, features: list[Tensor]) -> Float[Tensor, "B F I I"]:
        """The smallest features of the square in the middle of each patch, which one class of tissue belongs to."""
        cells = self.parts.tissue_cells
        top, left = ((side - cells) // 2 for side in features[-1].shape[2:])
        return features[-1][:, :, top : top + cells, left : left + cells]

    def freeze_all_but(self, decoder: str) -> None:
        """From now on only that decoder is trained; nothing else changes, running statistics included."""
        self.trains_only = decoder
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith(f"decoders.{decoder}."))

    def train(self, mode: bool = True) -> "Cerberus":  # torch's signature
        """Enter or leave training; what is frozen stays out of it."""
        if not self.trains_only:
            return super().train(mode)
        super().train(False)
        self.decoders[self.trains_only].train(mode)
        return self

    def compile_parts(self) -> None:
        """Compile what is called in every step; how many patches a decoder gets changes from step to step.

        Decoders are compiled as such, where their weights are inputs of a graph that they share. `decode` would take a
        graph for each name and each of no, one and more patches, and torch gives up after eight.
        """
        vars(self).update(encode=torch.compile(self.encode))
        for decoder in self.decoders.values():
            vars(decoder).update(forward=torch.compile(decoder.forward, dynamic=True))
        for branch in set(self.parts.branches.values()):
            vars(self.decoders[branch]).update(climb=torch.compile(self._branch(branch).climb, dynamic=True))

    def interpret_parts(self) -> None:
        vars(self).pop("encode", None)
        for decoder in self.decoders.values():
            vars(decoder).pop("forward", None)
            vars(decoder).pop("climb", None)

    def _branch(self, name: str) -> Decoder:
        """A decoder that has stages of its own."""
        return cast(Decoder, self.decoders[name])


def build(parts: CerberusParts, seed: int) -> Cerberus:
    """A new network, the same for the same seed; the global random state is left alone."""
    return drawn(lambda: Cerberus(parts), "decoders", seed)


def with_heads(network: Cerberus, parts: CerberusParts, seed: int) -> Cerberus:
    """A new network of these parts, which has from another one each part that fits."""
    return with_weights_of(build(parts, seed), network)


def with_type_decoder(
    network: Cerberus, structure: str, num_classes: int, seed: int, *, on_branch: bool = False
) -> Cerberus:
    """A copy with a decoder for the classes of a structure's objects; nothing else of the copy is trained.

    With `on_branch` it is a head on the branch that separates those objects.

    Raises:
        ValueError: If there is no such branch.
    """
    name, parts = f"{structure}_type", network.parts
    branches = {other: branch for other, branch in parts.branches.items() if other != name}
    if on_branch:
        branches[name] = structure
    wider = replace(parts, decoders={**parts.decoders, name: num_classes}, branches=branches)
    found = with_heads(network, wider, seed)
    found.freeze_all_but(name)
    return found
