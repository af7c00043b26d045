"""Encoders of Cerberus: features at five sizes, from full resolution to a sixteenth of it.

The ResNets (He et al. 2016) carry torchvision's names, so its weights fit, but their stem has stride 1 as in the
published Cerberus; torchvision's has 2. Its `fc` layer, which nothing would use, does not exist here.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from histoseg.models.norm import SyncedBatchNorm

LEVELS = 5


# He et al. 2016, Table 1: blocks in each of four layers, and by how much a bottleneck widens what it computes in.
SHAPES = {"resnet18": ((2, 2, 2, 2), 1), "resnet34": ((3, 4, 6, 3), 1), "resnet50": ((3, 4, 6, 3), 4)}


def build_encoder(encoder: str, width: int) -> "ResNet | PlainEncoder":
    """The encoder of that name; its `widths` are the channels at each size, largest size first."""
    return PlainEncoder(width) if encoder == "unet" else ResNet(*SHAPES[encoder], width)


class ResNet(nn.Module):
    """A residual network without its classifier."""

    def __init__(self, blocks: Sequence[int], growth: int, width: int) -> None:
        super().__init__()
        self.widths = (width, *(width * growth * 2**level for level in range(4)))
        self.conv1 = nn.Conv2d(3, width, 7, stride=1, padding=3, bias=False)
        self.bn1 = SyncedBatchNorm(width)
        before = width
        for level, count in enumerate(blocks):
            inner, after = width * 2**level, self.widths[level + 1]
            layers = [Residual(before, inner, after, stride=1 if level == 0 else 2)]
            layers += [Residual(after, inner, after, stride=1) for _ in range(count - 1)]
            self.add_module(f"layer{level + 1}", nn.Sequential(*layers))
            before = after

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Features (B, widths[i], H / 2^i, W / 2^i) for i = 0 to 4."""
        features = [nn.functional.relu(self.bn1(self.conv1(images)))]
        x = nn.functional.max_pool2d(features[0], 3, stride=2, padding=1)
        for level in range(1, LEVELS):
            x = self.get_submodule(f"layer{level}")(x)
            features.append(x)
        return features


class Residual(nn.Module):
    """A basic block, or a bottleneck where the block widens what it computes in (He et al. 2016, Fig. 5)."""

    def __init__(self, before: int, inner: int, after: int, stride: int) -> None:
        super().__init__()
        # torchvision puts a bottleneck's stride into its 3×3 convolution.
        sizes = [(before, inner, 3, stride), (inner, after, 3, 1)]
        if inner != after:
            sizes = [(before, inner, 1, 1), (inner, inner, 3, stride), (inner, after, 1, 1)]
        self.depth, self.stride = len(sizes), stride
        for i, (channels, wider, kernel, step) in enumerate(sizes, start=1):
            self.add_module(f"conv{i}", nn.Conv2d(channels, wider, kernel, step, kernel // 2, bias=False))
            self.add_module(f"bn{i}", SyncedBatchNorm(wider))
        self.downsample = (
            nn.Sequential(nn.Conv2d(before, after, 1, bias=False), SyncedBatchNorm(after))
            if stride > 1 or before != after
            else None
        )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D I J"]:
        """The input plus what the convolutions add to it."""
        shortcut = x if self.downsample is None else self._shortcut(self.downsample, x)
        for i in range(1, self.depth + 1):
            x = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(x))
            x = nn.functional.relu(x) if i < self.depth else x
        return nn.functional.relu(x + shortcut)

    def _shortcut(self, downsample: nn.Sequential, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D I J"]:
        convolution, norm = cast(nn.Conv2d, downsample[0]), downsample[1]
        if torch.is_grad_enabled():
            # oneDNN's gradient of a 1×1 convolution with a stride corrupts memory, see docs/lab-notes.md.
            return cast(Tensor, norm(convolution(x[:, :, :: self.stride, :: self.stride])))
        # The same, rounded as in the published networks.
        return cast(Tensor, norm(nn.functional.conv2d(x, convolution.weight, convolution.bias, self.stride)))


class PlainEncoder(nn.Module):
    """The U-Net's own encoder with batch normalisation, as Table 4 compares it: 64 to 1024 channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.widths = tuple(width * 2**level for level in range(LEVELS))
        self.blocks = nn.ModuleList(conv_block((before, after, after)) for before, after in pairwise((3, *self.widths)))

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Features (B, widths[i], H / 2^i, W / 2^i) for i = 0 to 4."""
        features: list[Tensor] = []
        for block in self.blocks:
            features.append(block(nn.functional.max_pool2d(features[-1], 2) if features else images))
        return features


def conv_block(widths: Sequence[int], kernel: int = 3) -> nn.Sequential:
    """Convolutions with bias from each width to the next, each with batch normalisation and ReLU."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [
            nn.Conv2d(before, after, kernel, padding=kernel // 2),
            SyncedBatchNorm(after),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
