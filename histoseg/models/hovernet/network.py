"""HoVer-Net (Graham et al. 2019): one encoder, and a branch each for nuclear pixels, distances and classes.

The branches are called as in the published code: "np" (nucleus or not), "hv" (how far a pixel lies from its nucleus'
centre, horizontally and vertically) and, where classes are learnt, "tp". Of its two modes see `sizes.py`. In the fast
one, with five classes and background, the published width has 37,639,626 parameters: the published architecture's, of
which the literature states 37.6 M (Shui et al. 2024, PromptNucSeg).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from histoseg.models.hovernet.blocks import DenseBlock, ResidualBlock, doubled, middle_of, pad_as_tensorflow
from histoseg.models.hovernet.loss import loss_of
from histoseg.models.hovernet.sizes import KERNEL, Mode, context_px
from histoseg.models.initial import drawn, with_weights_of
from histoseg.models.network import Network
from histoseg.models.norm import SyncedBatchNorm
from histoseg.models.tensors import device_of, to_device
from histoseg.types import MixedBatch

UNITS = (3, 4, 6, 3)  # Of the encoder's blocks: ResNet50


@dataclass(frozen=True, kw_only=True)
class HoVerNetParts:
    """All that a HoVer-Net is built from.

    Attributes:
        structure: What its objects are.
        num_types: Classes of objects with background; 0 means that it has no branch for them.
        width: Channels of the stem; 64 is the published network.
        distance_weight: What the squared error of distances counts in the loss, see `loss.py`.
    """

    structure: str = "nuclei"
    num_types: int = 0
    mode: Mode = "fast"
    width: int = 64
    distance_weight: float = 2.0

    @property
    def branches(self) -> Mapping[str, int]:
        """How many numbers each branch predicts for a pixel."""
        return {"np": 2, "hv": 2, **({"tp": self.num_types} if self.num_types else {})}


class Encoder(nn.Module):
    """ResNet50 with pre-activation, whose stem has stride 1."""

    def __init__(self, width: int, mode: Mode) -> None:
        super().__init__()
        self.pads = mode == "fast"
        self.conv = nn.Conv2d(3, width, 7, bias=False)
        self.norm = SyncedBatchNorm(width)
        outs = [width * 4 * 2**i for i in range(4)]
        self.blocks = nn.ModuleList(
            ResidualBlock(outs[i - 1] if i else width, outs[i] // 4, outs[i], count, 2 if i else 1)
            for i, count in enumerate(UNITS)
        )

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """The features of each block, at the size of the stem's, then at a half, a quarter and an eighth."""
        x = self.norm(self.conv(pad_as_tensorflow(x, 7, 1) if self.pads else x)).relu()
        found = []
        for block in self.blocks:
            x = block(x)
            found.append(x)
        return found


class Branch(nn.Module):
    """A decoder: up twice by dense blocks, once more by a convolution, and to its numbers."""

    def __init__(self, width: int, kernel: int, num_out: int) -> None:
        super().__init__()
        self.conv3 = nn.Conv2d(16 * width, 4 * width, kernel, bias=False)
        self.dense3 = DenseBlock(4 * width, 2 * width, width // 2, 8, kernel)
        self.last3 = nn.Conv2d(8 * width, 8 * width, 1, bias=False)
        self.conv2 = nn.Conv2d(8 * width, 2 * width, kernel, bias=False)
        self.dense2 = DenseBlock(2 * width, 2 * width, width // 2, 4, kernel)
        self.last2 = nn.Conv2d(4 * width, 4 * width, 1, bias=False)
        self.conv1 = nn.Conv2d(4 * width, width, kernel, bias=False)
        self.norm = SyncedBatchNorm(width)
        self.head = nn.Conv2d(width, num_out, 1)

    def forward(self, features: list[Tensor]) -> Float[Tensor, "B C I J"]:
        """The numbers of each pixel; features are the encoder's, cut as `HoVerNet.encode` gives them."""
        full, half, bottom = features
        x = self.last3(self.dense3(self.conv3(bottom)))
        x = self.last2(self.dense2(self.conv2(doubled(x) + half)))
        x = self.conv1(pad_as_tensorflow(doubled(x) + full, self.conv1.kernel_size[0], 1))
        found: Tensor = self.head(self.norm(x).relu())
        return found


class HoVerNet(Network):
    """The network; all its branches are run on every patch."""

    def __init__(self, parts: HoVerNetParts) -> None:
        super().__init__()
        self.parts = parts
        self.encoder: nn.Module = Encoder(parts.width, parts.mode)
        self.bottom = nn.Conv2d(32 * parts.width, 16 * parts.width, 1, bias=False)
        self.decoders = nn.ModuleDict(
            {name: Branch(parts.width, KERNEL[parts.mode], count) for name, count in parts.branches.items()}
        )

    def forward(self, images: UInt8[Tensor, "B H W 3"]) -> dict[str, Tensor]:
        """What each branch predicts of the middle of images as stored, see `sizes.py`."""
        features = self.encode(images)
        with self._precision(images.device):
            found = {name: branch(features) for name, branch in self.decoders.items()}
        return {name: value.to(self.bottom.weight.dtype) for name, value in found.items()}

    def encode(self, images: UInt8[Tensor, "B H W 3"]) -> list[Tensor]:
        """What the branches begin with: features at full and at half size, cut to what they predict, and at a quarter.

        The last are those of the smallest two blocks together; all branches have them in common.
        """
        with self._precision(images.device):
            pixels = images.permute(0, 3, 1, 2).to(self.bottom.weight.dtype) / 255
            full, half, quarter, smallest = self.encoder(pixels)
            bottom = doubled(self.bottom(smallest)) + quarter
        side = images.shape[1] - 2 * context_px(self.parts.mode)
        reach = (KERNEL[self.parts.mode] - 1) * (1 + 4)  # What the branches take at half size
        return [middle_of(full, side), middle_of(half, side // 2 + reach), bottom]

    def step_loss(self, batch: MixedBatch, weights: Mapping[str, float], *, masked: bool = False) -> Float[Tensor, ""]:  # noqa: ARG002  # it has no head without patches
        """This rank's share of the loss, see `MixedLearner` and `loss.py`."""
        found = self(to_device(batch.images, device_of(self)))
        loss = loss_of(found, batch, self.parts.distance_weight)
        return weights.get(self.parts.structure, 1.0) * loss

    def compile_parts(self) -> None:
        """Compile what is called in every step: the encoder, and each branch."""
        for part in (self.encoder, *self.decoders.values()):
            vars(part).update(forward=torch.compile(part.forward, dynamic=True))

    def interpret_parts(self) -> None:
        for part in (self.encoder, *self.decoders.values()):
            vars(part).pop("forward", None)


def build(parts: HoVerNetParts, seed: int) -> HoVerNet:
    """A new network, the same for the same seed; the global random state is left alone."""
    return drawn(lambda: HoVerNet(parts), "decoders", seed)


def with_parts(network: HoVerNet, parts: HoVerNetParts, seed: int) -> HoVerNet:
    """A new network of these parts, which has from another one all that fits."""
    return with_weights_of(build(parts, seed), network)
