"""The parts of HoVer-Net (Graham et al. 2019, Sec. 3.1): residual blocks with pre-activation, and dense blocks."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from histoseg.models.norm import SyncedBatchNorm


class ResidualUnit(nn.Module):
    """1×1, 3×3 and 1×1 convolutions, each but a block's first after norm and ReLU (He et al. 2016, pre-activation)."""

    def __init__(self, given: int, inner: int, out: int, stride: int, *, is_first: bool) -> None:
        super().__init__()
        self.norm1 = None if is_first else SyncedBatchNorm(given)
        self.conv1 = nn.Conv2d(given, inner, 1, bias=False)
        self.norm2 = SyncedBatchNorm(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, bias=False)
        self.norm3 = SyncedBatchNorm(inner)
        self.conv3 = nn.Conv2d(inner, out, 1, bias=False)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D I J"]:
        """The unit's own part, to be added to its input."""
        if self.norm1 is not None:
            x = self.norm1(x).relu()
        x = self.norm2(self.conv1(x)).relu()
        x = self.norm3(self.conv2(pad_as_tensorflow(x, 3, self.conv2.stride[0]))).relu()
        found: Tensor = self.conv3(x)
        return found


class ResidualBlock(nn.Module):
    """Units of one width, of which the first changes size and width; norm and ReLU come at the end."""

    def __init__(self, given: int, inner: int, out: int, count: int, stride: int) -> None:
        super().__init__()
        self.units = nn.ModuleList(
            ResidualUnit(out if i else given, inner, out, 1 if i else stride, is_first=i == 0) for i in range(count)
        )
        self.shortcut = nn.Conv2d(given, out, 1, stride, bias=False)
        self.norm = SyncedBatchNorm(out)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D I J"]:
        """The features of the block; sides are divided by its stride."""
        kept = self.shortcut(x)
        for unit in self.units:
            kept = x = unit(x) + kept
        found: Tensor = self.norm(x).relu()
        return found


class DenseUnit(nn.Module):
    """New features from all before: 1×1, then a kernel in four groups that does not pad."""

    def __init__(self, given: int, inner: int, grown: int, kernel: int) -> None:
        super().__init__()
        self.norm1 = SyncedBatchNorm(given)
        self.conv1 = nn.Conv2d(given, inner, 1, bias=False)
        self.norm2 = SyncedBatchNorm(inner)
        self.conv2 = nn.Conv2d(inner, grown, kernel, groups=4, bias=False)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D I J"]:
        """The features before, cut to the size of the new ones, and these."""
        new = self.conv2(self.norm2(self.conv1(self.norm1(x).relu())).relu())
        return torch.cat([middle_of(x, new.shape[2]), new], dim=1)


class DenseBlock(nn.Module):
    """Dense units (Huang et al. 2017), then norm and ReLU."""

    def __init__(self, given: int, inner: int, grown: int, count: int, kernel: int) -> None:
        super().__init__()
        self.units = nn.Sequential(*(DenseUnit(given + i * grown, inner, grown, kernel) for i in range(count)))
        self.norm = SyncedBatchNorm(given + count * grown)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D I J"]:
        """All features; sides are smaller by `kernel` - 1 for each unit."""
        found: Tensor = self.norm(self.units(x)).relu()
        return found


def pad_as_tensorflow(x: Float[Tensor, "B C H W"], kernel: int, stride: int) -> Float[Tensor, "B C I J"]:
    """The map with the zeros that TensorFlow's "same" puts around it, for sides that are multiples of the stride.

    An odd number of them has one more at the lower and right border, as the network was first trained in TensorFlow.
    """
    number = kernel - stride
    before, after = number // 2, number - number // 2
    return nn.functional.pad(x, (before, after, before, after))


def middle_of(x: Float[Tensor, "B C H W"], height: int) -> Float[Tensor, "B C I J"]:
    """The part in the middle of that height; as much is cut of the width."""
    cut = (x.shape[2] - height) // 2
    return x[:, :, cut : x.shape[2] - cut, cut : x.shape[3] - cut]


def doubled(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C I J"]:
    """Each pixel as a square of four."""
    return nn.functional.interpolate(x, scale_factor=2, mode="nearest")
