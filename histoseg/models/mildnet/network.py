"""MILD-Net: an encoder that takes the image in again at every scale, and for each structure its objects and contours.

Graham et al. 2019 (Medical Image Analysis 52; pages are those of arXiv 1806.01963). Where the paper leaves sizes open,
they are as in two public readings of its Fig. 2: 64 to 512 channels, the image scaled down to an eighth, 640 channels
after the pyramid. Its inner width of 1024 is the one with which the network has twice the parameters of Cerberus, as
Graham et al. 2023 (Cerberus, Sec. 5) say of it. The published network has one structure; its variant MILD-Net+ adds
lumina in the same way as here, by a head of their own. Images enter as numbers from 0 to 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from histoseg.models.encoder import conv_block
from histoseg.models.initial import drawn, with_weights_of
from histoseg.models.mildnet.loss import draw_kept, losses_per_image
from histoseg.models.mildnet.targets import STRIDE_PX
from histoseg.models.mildnet.units import NUM_BRANCHES, AtrousPyramid, MilUnit, ResidualUnit, drop
from histoseg.models.network import EncodingNetwork
from histoseg.models.step import by_structure
from histoseg.models.tensors import device_of, to_device
from histoseg.types import MixedBatch

DILATIONS = (2, 2, 4, 4)  # Of the units at that size
AUXILIARY_AFTER = 2  # So many of them the auxiliary logits come (p. 5)


class Features(NamedTuple):
    """What an encoder finds; the last two have an eighth of the image's height and width."""

    skips: list[Tensor]  # At full size, a half and a quarter
    middle: Tensor  # Of the auxiliary logits
    deepest: Tensor


class Logits(NamedTuple):
    """Of background and object, and of background and contour."""

    objects: Float[Tensor, "B 2 H W"]
    contours: Float[Tensor, "B 2 H W"]


@dataclass(frozen=True, kw_only=True)
class MildNetParts:
    """All that a MILD-Net is built from.

    Attributes:
        structures: What it has heads for.
        width: Channels of the first features.
        aux_steps: Every so many steps the weight of the auxiliary losses is divided by ten.
    """

    structures: tuple[str, ...]
    width: int = 64
    aux_steps: int = 16_000

    @property
    def hidden(self) -> int:
        """Channels within the pyramid."""
        return 16 * self.width


class Encoder(nn.Module):
    """Features at four sizes; each time they are halved, the image comes in again."""

    def __init__(self, parts: MildNetParts) -> None:
        super().__init__()
        widths = [parts.width * 2**level for level in range(4)]
        self.stem = conv_block((3, widths[0], widths[0]))
        self.mil = nn.ModuleList(MilUnit(before, after) for before, after in pairwise(widths))
        self.residual = nn.ModuleList(ResidualUnit(width) for width in widths[1:])
        self.dilated = nn.ModuleList(ResidualUnit(widths[-1], dilation) for dilation in DILATIONS)
        self.pyramid = AtrousPyramid(widths[-1], parts.hidden, 2 * parts.width)

    def forward(self, images: Float[Tensor, "B 3 H W"], kept: Bool[Tensor, "B F"] | None) -> Features:
        x, skips = self.stem(images), []
        for mil, residual in zip(self.mil, self.residual, strict=True):
            skips.append(x)
            images = nn.functional.avg_pool2d(images, 2)
            x = residual(mil(nn.functional.max_pool2d(x, 2), images))
        for unit in self.dilated[:AUXILIARY_AFTER]:
            x = unit(x)
        middle = x
        for unit in self.dilated[AUXILIARY_AFTER:]:
            x = unit(x)
        return Features(skips, middle, self.pyramid(x, kept))


class Decoder(nn.Module):
    """Back to full size: each time features are doubled, those of the encoder are appended after a 1×1 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.low = nn.ModuleList(conv_block((own, own), kernel=1) for own in (4 * width, 2 * width, width))
        widths = ((14 * width, 4 * width), (6 * width, 2 * width))  # With the skip, and after the convolutions
        self.stages = nn.ModuleList(conv_block((before, after, after)) for before, after in widths)

    def forward(self, features: Features) -> Float[Tensor, "B C H W"]:
        """What heads see: three times the width of the network in channels."""
        x = features.deepest
        for level, low in enumerate(self.low):
            x = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = torch.cat([x, low(features.skips[-1 - level])], dim=1)
            if level < len(self.stages):
                x = self.stages[level](x)
        return x


class Head(nn.Module):
    """Objects and contours of one structure, and the auxiliary logits of both, which only training needs."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(conv_block((3 * width, width, width)) for _ in Logits._fields)
        self.last = nn.ModuleList(nn.Conv2d(width, 2, 1) for _ in Logits._fields)
        self.auxiliary = nn.ModuleList(nn.Conv2d(8 * width, 2, 1) for _ in Logits._fields)

    def forward(self, x: Float[Tensor, "B C H W"], kept: Bool[Tensor, "B F"] | None = None) -> Logits:
        chosen = (None, None) if kept is None else kept.chunk(2, dim=1)
        found = zip(self.branches, self.last, chosen, strict=True)
        return Logits(*(last(drop(branch(x), own)) for branch, last, own in found))

    def assist(self, middle: Float[Tensor, "B C I J"]) -> Logits:
        """Auxiliary logits, at full size."""
        found = (auxiliary(middle) for auxiliary in self.auxiliary)
        return Logits(
            *(nn.functional.interpolate(x, scale_factor=STRIDE_PX, mode="bilinear", align_corners=False) for x in found)
        )


class MildNet(EncodingNetwork):
    """The network: `encode` once, then each structure's head."""

    def __init__(self, parts: MildNetParts) -> None:
        super().__init__()
        self.parts = parts
        self.encoder = Encoder(parts)
        self.decoder = Decoder(parts.width)
        self.heads = nn.ModuleDict({name: Head(parts.width) for name in parts.structures})
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # So a resumed training goes on as it was.

    def encode(
        self, images: UInt8[Tensor, "B H W 3"], kept: Bool[Tensor, "B F"] | None = None
    ) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B D I J"]]:
        """What heads see at full size, and what auxiliary logits are made of at an eighth.

        `kept` are the channels that dropout leaves in the pyramid.

        Raises:
            ValueError: If a side is no multiple of 8 pixels.
        """
        if bad := [side for side in images.shape[1:3] if side % STRIDE_PX]:
            raise ValueError(f"images have a side of {bad[0]} px; MILD-Net takes multiples of {STRIDE_PX}")
        with self._precision(images.device):
            pixels = images.permute(0, 3, 1, 2).to(self._dtype) / 255
            features: Features = self.encoder(pixels, kept)
            return self.decoder(features), features.middle

    def forward(self, images: UInt8[Tensor, "B H W 3"]) -> dict[str, Logits]:
        """Logits of every structure's objects and contours."""
        seen, _ = self.encode(images)
        return {name: self.decode(seen, name) for name in self.heads}

    def step_loss(self, batch: MixedBatch, weights: Mapping[str, float], *, masked: bool = False) -> Float[Tensor, ""]:  # noqa: ARG002  # Cerberus' own way to run heads
        """This rank's share of a step's loss (Eq. 4): of each structure the mean over its patches on all ranks.

        Weights are not penalised here; that is up to the optimiser.
        """
        device, size = device_of(self), NUM_BRANCHES * self.parts.hidden
        kept = to_device(draw_kept(batch.seeds, size + 2 * self.parts.width), device)
        seen, middle = self.encode(to_device(batch.images, device), kept[:, :size])
        auxiliary = 0.1 ** (self.get_buffer("steps") // self.parts.aux_steps).to(self._dtype)
        total = seen.new_zeros((), dtype=self._dtype)
        parts = by_structure([seen, middle], batch)
        for structure, count in batch.counts.items():
            own = batch.owned(structure)
            classes, scale = (to_device(part[own], device) for part in (batch.classes, batch.weights))
            own_seen, own_middle = parts[structure]
            losses = losses_per_image(self.decode(own_seen, structure, kept[own, size:]), classes, scale)
            losses = losses + auxiliary * losses_per_image(self._assist(structure, own_middle), classes, scale)
            total = total + weights.get(structure, 1.0) * losses.sum() / count
        if self.training:
            self.get_buffer("steps").add_(1)
        return total

    def decode(self, seen: Float[Tensor, "B C H W"], structure: str, kept: Bool[Tensor, "B F"] | None = None) -> Logits:
        """Logits of a structure's head; `kept` are the channels that dropout leaves in it."""
        with self._precision(seen.device):
            found: Logits = self.heads[structure](seen, kept)
        return Logits(*(logits.to(self._dtype) for logits in found))

    def _assist(self, structure: str, middle: Tensor) -> Logits:
        head = self.heads[structure]
        if not isinstance(head, Head):
            raise TypeError(f"heads.{structure} is a {type(head).__name__}; expected a Head")
        with self._precision(middle.device):
            found = head.assist(middle)
        return Logits(*(logits.to(self._dtype) for logits in found))


def build(parts: MildNetParts, seed: int) -> MildNet:
    """A new network, the same for the same seed; the global random state is left alone."""
    return drawn(lambda: MildNet(parts), "heads", seed, _draw_weights)


def with_heads(network: MildNet, structures: Sequence[str], seed: int) -> MildNet:
    """A copy that also has heads for these structures."""
    names = tuple(dict.fromkeys((*network.parts.structures, *structures)))
    parts = MildNetParts(structures=names, width=network.parts.width, aux_steps=network.parts.aux_steps)
    return with_weights_of(build(parts, seed), network)


def _draw_weights(module: nn.Module) -> None:
    """Weights after Glorot & Bengio 2010 ("Xavier", p. 9 of the paper), biases 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
