"""Cerberus: one encoder, and for each structure a decoder that adds the encoder's features on its way up.

Graham et al. 2023, Sec. 3.1. What the paper leaves open is as in its published code: skips are added, not
concatenated; the encoder's stem has stride 1; images enter as numbers from 0 to 1. The five tasks of the paper, with
contours, have 26,601,689 parameters (the published count of 27.1 M holds 513,000 of a classifier that nothing uses).
"""

import zlib
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from histoseg.models.cerberus.crop import Crop
from histoseg.models.cerberus.encoder import build_encoder, conv_block
from histoseg.models.network import Network, innermost_channels
from histoseg.models.norm import SyncedBatchNorm

DROPOUT = 0.3  # Sec. 3.1, between the fully connected layers of patch classification
STRIDE_PX = 16  # Of the encoder's smallest features


@dataclass(frozen=True, kw_only=True)
class CerberusParts:
    """All that a Cerberus is built from.

    Attributes:
        encoder: One of the encoders of `histoseg.models.cerberus.encoder`.
        width: Channels of the first features.
        decoders: How many classes the decoder of that name predicts. A decoder with the name of a structure separates
            its objects, one with the name of its `type_decoder` predicts their classes.
        tissue: Classes of tissue; 0 means that the network has no head for it.
        tissue_cells: Side of the square of the encoder's smallest features that one class of tissue is predicted for.
    """

    encoder: str = "resnet34"
    width: int = 64
    decoders: Mapping[str, int] = field(default_factory=dict)
    tissue: int = 0
    tissue_cells: int = 9  # 144 pixels at a sixteenth


class Cerberus(Network):
    """The network. `encode` once, then `decode` for each decoder that is wanted."""

    def __init__(self, parts: CerberusParts) -> None:
        super().__init__()
        self.parts = parts
        self.trains_only = ""
        self.encoder = build_encoder(parts.encoder, parts.width)
        *skips, bottom = self.encoder.widths
        self.conv_map = nn.Conv2d(bottom, skips[-1], 1, bias=False)
        self.decoders = nn.ModuleDict({name: Decoder(skips, count) for name, count in parts.decoders.items()})
        self.tissue = TissueHead(bottom, parts.tissue) if parts.tissue else None

    def encode(self, images: UInt8[Tensor, "B H W 3"]) -> list[Tensor]:
        """Features (B, C_i, H / 2^i, W / 2^i), i = 0 to 4, of images as stored; sides must be multiples of 16."""
        with self._precision(images.device):
            features: list[Tensor] = self.encoder(images.permute(0, 3, 1, 2).to(self.conv_map.weight.dtype) / 255)
        return features

    def decode(self, features: list[Tensor], name: str, crop: Crop | None = None) -> Float[Tensor, "B C H W"]:
        """Logits of one decoder, at full size or of a part."""
        smallest = features[-1] if crop is None else crop.smallest(features[-1])
        with self._precision(smallest.device):
            mapped = [*features[:-1], self.conv_map(smallest)]
            logits: Tensor = self.decoders[name](mapped) if crop is None else self.decoders[name](mapped, crop)
        return logits.to(self.conv_map.weight.dtype)

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
        logits = {name: self.decode(features, name) for name in self.decoders}
        if self.tissue is not None:
            logits["tissue"] = self.classify([self.middle(features)])
        return logits

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

    def interpret_parts(self) -> None:
        vars(self).pop("encode", None)
        for decoder in self.decoders.values():
            vars(decoder).pop("forward", None)

    def _precision(self, device: torch.device) -> AbstractContextManager[object]:
        return torch.autocast(device.type, torch.bfloat16) if self.bf16 else nullcontext()


class Decoder(nn.Module):
    """Up to full size in four stages, each doubling, adding the encoder's features and convolving twice."""

    def __init__(self, skips: list[int], num_classes: int) -> None:
        super().__init__()
        levels = skips[::-1]
        self.stages = nn.ModuleList(
            conv_block((width, width, after)) for width, after in zip(levels, [*levels[1:], levels[-1]], strict=True)
        )
        hidden = levels[-1] * 3 // 2  # 96 of the published code, where the width is 64
        self.head = nn.Sequential(conv_block((levels[-1], hidden), kernel=1), nn.Conv2d(hidden, num_classes, 1))

    def forward(self, features: list[Tensor], crop: Crop | None = None) -> Float[Tensor, "B C H W"]:
        """Logits from the encoder's features; the smallest must have as many channels as those before them.

        With a crop the smallest are only of its part, and so are the logits.
        """
        x = features[-1]
        for level, stage in zip(range(len(features) - 2, -1, -1), self.stages, strict=True):
            x = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            if crop is None:
                x = stage(x + features[level])
            else:
                x = crop.leave(level, stage(crop.enter(level, x, features[level])))
        logits: Tensor = self.head(x)
        return logits


class TissueHead(nn.Module):
    """Two fully connected layers, as 1×1 convolutions, on pooled features (Sec. 3.1: k = 256)."""

    def __init__(self, before: int, num_classes: int) -> None:
        super().__init__()
        self.bn1 = SyncedBatchNorm(before)
        self.conv1 = nn.Conv2d(before, before // 2, 1)
        self.bn2 = SyncedBatchNorm(before // 2)
        self.conv2 = nn.Conv2d(before // 2, num_classes, 1)

    def forward(
        self, pooled: Float[Tensor, "B F I J"], kept: Bool[Tensor, "B F"] | None = None
    ) -> Float[Tensor, "B K I J"]:
        """Logits; features that dropout took are zero, the others larger by as much."""
        x = nn.functional.relu(self.bn1(pooled))
        if kept is not None:
            x = x * (kept[:, :, None, None] / (1 - DROPOUT)).to(x.dtype)
        x = nn.functional.relu(self.bn2(self.conv1(x)))
        logits: Tensor = self.conv2(x)
        return logits


def build(parts: CerberusParts, seed: int) -> Cerberus:
    """A new network, the same for the same seed; the global random state is left alone.

    Each part is drawn from a stream of its own name, so the encoder does not depend on which decoders there are.
    """
    with torch.random.fork_rng(devices=[]):
        model = Cerberus(parts)
        for name, part in model.named_children():
            for inner, module in part.named_children() if name == "decoders" else [("", part)]:
                torch.manual_seed(zlib.crc32(f"{name}.{inner}".encode(), seed))  # torch keeps 32 bits only
                module.apply(_draw_weights)
    innermost_channels(model)
    return model


def with_heads(network: Cerberus, parts: CerberusParts, seed: int) -> Cerberus:
    """A new network of these parts, which has from another one each part that fits."""
    fresh = build(parts, seed)
    own = fresh.state_dict()
    fits = {
        name: value for name, value in network.state_dict().items() if name in own and value.shape == own[name].shape
    }
    fresh.load_state_dict(fits, strict=False)
    return fresh


def with_type_decoder(network: Cerberus, structure: str, num_classes: int, seed: int) -> Cerberus:
    """A copy with a decoder for the classes of a structure's objects; nothing else of the copy is trained."""
    name = f"{structure}_type"
    wider = with_heads(network, replace(network.parts, decoders={**network.parts.decoders, name: num_classes}), seed)
    wider.freeze_all_but(name)
    return wider


def _draw_weights(module: nn.Module) -> None:
    """Weights by He et al. 2015, by fan-out, and biases uniform within 1/√fan-in, torch's own: the published code's."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            bound = module.weight[0].numel() ** -0.5
            nn.init.uniform_(module.bias, -bound, bound)
