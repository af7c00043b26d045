"""Cerberus' decoders and heads: from the encoder's features to logits (Graham et al. 2023, Sec. 3.1)."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from histoseg.models.cerberus.crop import Crop
from histoseg.models.encoder import conv_block
from histoseg.models.norm import SyncedBatchNorm

DROPOUT = 0.3  # Sec. 3.1, between the fully connected layers of patch classification


class Decoder(nn.Module):
    """Up to full size in four stages, each doubling, adding the encoder's features and convolving twice."""

    def __init__(self, skips: list[int], num_classes: int) -> None:
        super().__init__()
        levels = skips[::-1]
        self.stages = nn.ModuleList(
            conv_block((width, width, after)) for width, after in zip(levels, [*levels[1:], levels[-1]], strict=True)
        )
        self.head = _head(levels[-1], num_classes)

    def forward(self, features: list[Tensor], crop: Crop | None = None) -> Float[Tensor, "B C H W"]:
        """Logits from the encoder's features; the smallest must have as many channels as those before them.

        With a crop the smallest are only of its part, and so are the logits.
        """
        logits: Tensor = self.head(self.climb(features, crop))
        return logits

    def climb(self, features: list[Tensor], crop: Crop | None = None) -> Float[Tensor, "B F H W"]:
        """What the head sees: features at full size, after the last upsampling and its convolutions."""
        x = features[-1]
        for level, stage in zip(range(len(features) - 2, -1, -1), self.stages, strict=True):
            x = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            if crop is None:
                x = stage(x + features[level])
            else:
                x = crop.leave(level, stage(crop.enter(level, x, features[level])))
        return x


class BranchHead(nn.Module):
    """A head for classes on the branch of another decoder, whose features it takes at full size (PixelA, Table 7).

    The paper speaks of an extra layer. Every head of the published code is two 1×1 convolutions, and so is this one.
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.layers = _head(width, num_classes)

    def forward(self, x: Float[Tensor, "B F H W"]) -> Float[Tensor, "B C H W"]:
        logits: Tensor = self.layers(x)
        return logits


def _head(width: int, num_classes: int) -> nn.Sequential:
    hidden = width * 3 // 2  # 96 of the published code, where the width is 64
    return nn.Sequential(conv_block((width, hidden), kernel=1), nn.Conv2d(hidden, num_classes, 1))


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
