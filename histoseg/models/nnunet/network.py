"""nnU-Net's plain convolutional U-Net in 2D, and for each structure its logits at several sizes.

Isensee et al. 2021 (Nature Methods 18), and the published code, version 2, "PlainConvUNet": two convolutions at each
size, each followed by instance normalisation and leaky ReLU; the first of a smaller size has stride 2; transposed
convolutions lead back, and the encoder's features are appended. Images enter as numbers from 0 to 1, which is what
nnU-Net does with colour images.

The published network has one set of classes. Here each structure has its own 1×1 convolutions on shared features; rows
of tables train one structure each, as published.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from histoseg.distributed import world_size
from histoseg.models.initial import drawn, with_weights_of
from histoseg.models.network import EncodingNetwork
from histoseg.models.nnunet.loss import level_weights, losses_of_step
from histoseg.models.nnunet.sizes import stride_of, widths_of
from histoseg.models.nnunet.targets import NUM_CLASSES
from histoseg.models.step import by_structure
from histoseg.models.tensors import device_of, to_device
from histoseg.types import MixedBatch

SLOPE = 0.01  # Of leaky ReLU below 0


@dataclass(frozen=True, kw_only=True)
class NNUNetParts:
    """All that an nnU-Net is built from.

    Attributes:
        structures: What it has heads for.
        width: Channels of the first features.
        num_stages: How many sizes of features the encoder has.
    """

    structures: tuple[str, ...]
    width: int = 32
    num_stages: int = 7

    @property
    def stride_px(self) -> int:
        """What sides of images must be multiples of."""
        return stride_of(self.num_stages)


class Encoder(nn.Module):
    """Features at every size, the largest first."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        first = two_convolutions(3, widths[0])
        self.stages = nn.ModuleList([first, *(two_convolutions(*pair, stride=2) for pair in pairwise(widths))])

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        x, found = images, []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


class Decoder(nn.Module):
    """Features at every size but the smallest, the largest first."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        steps = list(pairwise(reversed(widths)))
        self.up = nn.ModuleList(nn.ConvTranspose2d(below, own, 2, stride=2) for below, own in steps)
        self.stages = nn.ModuleList(two_convolutions(2 * own, own) for _, own in steps)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        *skips, x = features
        found: list[Tensor] = []
        for up, stage, skip in zip(self.up, self.stages, reversed(skips), strict=True):
            x = stage(torch.cat([up(x), skip], dim=1))
            found.insert(0, x)
        return found


class NNUNet(EncodingNetwork):
    """The network: `encode` once, then `decode` for each structure."""

    def __init__(self, parts: NNUNetParts) -> None:
        super().__init__()
        self.parts = parts
        widths = widths_of(parts.width, parts.num_stages)
        self.encoder = Encoder(widths)
        self.decoder = Decoder(widths)
        self.level_weights = level_weights(parts.num_stages)
        seen = widths[: len(self.level_weights)]
        self.heads = nn.ModuleDict(
            {name: nn.ModuleList(nn.Conv2d(width, NUM_CLASSES, 1) for width in seen) for name in parts.structures}
        )

    def encode(self, images: UInt8[Tensor, "B H W 3"]) -> list[Tensor]:
        """What heads see, the largest first: of image i at level n (C_n, H / 2^n, W / 2^n).

        Raises:
            ValueError: If a side is no multiple of the stride.
        """
        if bad := [side for side in images.shape[1:3] if side % self.parts.stride_px]:
            raise ValueError(
                f"images have a side of {bad[0]} px; this nnU-Net takes multiples of {self.parts.stride_px}"
            )
        with self._precision(images.device):
            pixels = images.permute(0, 3, 1, 2).to(self._dtype) / 255
            found: list[Tensor] = self.decoder(self.encoder(pixels))
            return found[: len(self.level_weights)]

    def forward(self, images: UInt8[Tensor, "B H W 3"]) -> dict[str, Float[Tensor, "B 3 H W"]]:
        """Logits of every structure's background, core and border."""
        seen = self.encode(images)
        return {name: self.decode(seen[:1], name)[0] for name in self.heads}

    def decode(self, seen: Sequence[Tensor], structure: str) -> list[Tensor]:
        """Logits of a structure at as many sizes as there are features of."""
        head = self.heads[structure]
        if not isinstance(head, nn.ModuleList):
            raise TypeError(f"heads.{structure} is a {type(head).__name__}; expected a ModuleList")
        with self._precision(seen[0].device):
            return [last(x).to(self._dtype) for last, x in zip(head, seen, strict=False)]

    def step_loss(self, batch: MixedBatch, weights: Mapping[str, float], *, masked: bool = False) -> Float[Tensor, ""]:  # noqa: ARG002  # Cerberus' own way to run heads
        """This rank's share of a step's loss: an equal part, as the loss is of all ranks' patches together."""
        device = device_of(self)
        parts = by_structure(self.encode(to_device(batch.images, device)), batch)
        names = list(batch.counts)
        logits = [self.decode(parts[name], name) for name in names]
        classes = [to_device(batch.classes[batch.owned(name)], device) for name in names]
        known = [to_device(batch.weights[batch.owned(name)] > 0, device).to(self._dtype) for name in names]
        losses = losses_of_step(logits, classes, known)
        counted = losses.new_tensor([weights.get(name, 1.0) for name in names])[:, None]
        return (losses * counted * losses.new_tensor(self.level_weights)).sum() / world_size()


def two_convolutions(before: int, after: int, stride: int = 1) -> nn.Sequential:
    """Two 3×3 convolutions, each with instance normalisation and leaky ReLU; the first may halve the size."""
    layers: list[nn.Module] = []
    for width, step in ((before, stride), (after, 1)):
        # A group for each channel is instance normalisation, and takes no patches, too.
        norm = nn.GroupNorm(after, after)
        layers += [nn.Conv2d(width, after, 3, stride=step, padding=1), norm, nn.LeakyReLU(SLOPE, inplace=True)]
    return nn.Sequential(*layers)


def build(parts: NNUNetParts, seed: int) -> NNUNet:
    """A new network, the same for the same seed; the global random state is left alone."""
    return drawn(lambda: NNUNet(parts), "heads", seed, _draw_weights)


def with_heads(network: NNUNet, structures: Sequence[str], seed: int) -> NNUNet:
    """A copy that also has heads for these structures."""
    names = tuple(dict.fromkeys((*network.parts.structures, *structures)))
    return with_weights_of(build(replace(network.parts, structures=names), seed), network)


def _draw_weights(module: nn.Module) -> None:
    """Weights after He et al. 2015 for that slope, biases 0, as published."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, a=SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
