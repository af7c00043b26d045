"""Rota-Net: an encoder and a decoder of group convolutions, which split into a branch for each structure at the end.

Graham, Epstein & Rajpoot 2019 (Digital Pathology, LNCS 11435), as far as its abstract says: convolutions over the group
of rotations by multiples of 90°, one branch for glands and one for lumina after the final up-sampling, several classes
in that of glands so that neighbours come apart. The paper's table of layers is not public. What it leaves open here:

- residual units (He et al. 2016, which it cites) at five sizes, the first with 16 features, so that their four
  orientations compute what the 64 channels of a U-Net do;
- as in the code that the same authors published with Graham et al. 2020 (DSF-CNN), the first filter has 7×7 pixels,
  skips are added, and the largest orientation of each feature is what 1×1 convolutions make logits of;
- images enter as numbers from 0 to 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from histoseg.models.encoder import conv_block
from histoseg.models.initial import drawn, with_weights_of
from histoseg.models.network import EncodingNetwork
from histoseg.models.rotanet.group import (
    GroupConvolution,
    Lifting,
    OrientationNorm,
    draw_weights,
    pool_orientations,
)
from histoseg.models.rotanet.targets import LEVELS, STRIDE_PX
from histoseg.models.step import by_structure, losses_of
from histoseg.models.tensors import device_of, to_device
from histoseg.types import MixedBatch

HIDDEN = 6  # Times as many channels before logits: 96 at the default width, as in the code of DSF-CNN


@dataclass(frozen=True, kw_only=True)
class RotaNetParts:
    """All that a Rota-Net is built from.

    Attributes:
        num_classes: By structure, the classes of its branch: background and inner, or also the contour.
        width: Features at full size, of four orientations each.
    """

    num_classes: Mapping[str, int]
    width: int = 16


class ResidualUnit(nn.Module):
    """What two group convolutions add to the input; a 1×1 one takes the input to as many features."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            GroupConvolution(before, after),
            OrientationNorm(after),
            nn.ReLU(inplace=True),
            GroupConvolution(after, after),
            OrientationNorm(after),
        )
        self.shortcut = nn.Identity() if before == after else GroupConvolution(before, after, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        return nn.functional.relu(self.residual(x) + self.shortcut(x))


class Encoder(nn.Module):
    """Features at five sizes, the largest first."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        first = widths[0]
        self.stem = nn.Sequential(Lifting(3, first, 7), OrientationNorm(first), nn.ReLU(inplace=True))
        self.units = nn.ModuleList(ResidualUnit(before, after) for before, after in pairwise([first, *widths]))

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        x = self.stem(images)
        features: list[Tensor] = []
        for unit in self.units:
            x = unit(nn.functional.max_pool2d(x, 2) if features else x)
            features.append(x)
        return features


class Decoder(nn.Module):
    """Back to full size: each time features are doubled and convolved, those of the encoder are added."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        steps = list(pairwise(reversed(widths)))
        self.narrow = nn.ModuleList(GroupConvolution(before, after, 1) for before, after in steps)
        self.units = nn.ModuleList(ResidualUnit(after, after) for _, after in steps)

    def forward(self, features: list[Tensor]) -> Float[Tensor, "B C H W"]:
        x = features[-1]
        for skip, narrow, unit in zip(reversed(features[:-1]), self.narrow, self.units, strict=True):
            # A 1×1 convolution and an interpolation may change places, and this way there are fewer numbers.
            x = nn.functional.interpolate(narrow(x), scale_factor=2, mode="bilinear", align_corners=False)
            x = unit(x + skip)
        return x


class Branch(nn.Module):
    """Logits of one structure: the last layer that knows orientations, then 1×1 convolutions of the largest ones."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.oriented = nn.Sequential(GroupConvolution(width, width), OrientationNorm(width), nn.ReLU(inplace=True))
        hidden = HIDDEN * width
        self.head = nn.Sequential(conv_block((width, hidden), kernel=1), nn.Conv2d(hidden, num_classes, 1))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K H W"]:
        logits: Tensor = self.head(pool_orientations(self.oriented(x)))
        return logits


class RotaNet(EncodingNetwork):
    """The network: `encode` once, then each structure's branch."""

    def __init__(self, parts: RotaNetParts) -> None:
        super().__init__()
        self.parts = parts
        widths = [parts.width * 2**level for level in range(LEVELS)]
        self.encoder = Encoder(widths)
        self.decoder = Decoder(widths)
        self.heads = nn.ModuleDict({name: Branch(parts.width, count) for name, count in parts.num_classes.items()})

    def encode(self, images: UInt8[Tensor, "B H W 3"]) -> Float[Tensor, "B C H W"]:
        """What branches see, at full size.

        Raises:
            ValueError: If a side is no multiple of 16 pixels.
        """
        if bad := [side for side in images.shape[1:3] if side % STRIDE_PX]:
            raise ValueError(f"images have a side of {bad[0]} px; Rota-Net takes multiples of {STRIDE_PX}")
        with self._precision(images.device):
            # Channels outermost: the four maps of a feature lie together then.
            features: Tensor = self.decoder(self.encoder(images.permute(0, 3, 1, 2).contiguous().to(self._dtype) / 255))
        return features

    def decode(self, seen: Float[Tensor, "B C H W"], structure: str) -> Float[Tensor, "B K H W"]:
        """Logits of a structure's branch."""
        with self._precision(seen.device):
            logits: Tensor = self.heads[structure](seen)
        return logits.to(self._dtype)

    def forward(self, images: UInt8[Tensor, "B H W 3"]) -> dict[str, Tensor]:
        """Logits of every structure."""
        seen = self.encode(images)
        return {name: self.decode(seen, name) for name in self.heads}

    def step_loss(self, batch: MixedBatch, weights: Mapping[str, float], *, masked: bool = False) -> Float[Tensor, ""]:  # noqa: ARG002  # Cerberus' own way to run heads
        """This rank's share of a step's loss: of each structure the mean cross-entropy of its patches on all ranks."""
        seen = self.encode(to_device(batch.images, device_of(self)))
        total = seen.new_zeros((), dtype=self._dtype)
        parts = by_structure([seen], batch)
        for structure, count in batch.counts.items():
            losses = losses_of(self.decode(parts[structure][0], structure), batch, structure)
            total = total + weights.get(structure, 1.0) * losses.sum() / count
        return total


def build(parts: RotaNetParts, seed: int) -> RotaNet:
    """A new network, the same for the same seed; the global random state is left alone."""
    return drawn(lambda: RotaNet(parts), "heads", seed, draw_weights)


def with_heads(network: RotaNet, num_classes: Mapping[str, int], seed: int) -> RotaNet:
    """A copy that also has branches for these structures."""
    parts = replace(network.parts, num_classes={**network.parts.num_classes, **num_classes})
    return with_weights_of(build(parts, seed), network)
