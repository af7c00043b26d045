"""The units of MILD-Net (Graham et al. 2019, Fig. 2): residual, minimal information loss, atrous pyramid."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from histoseg.models.encoder import conv_block
from histoseg.models.norm import SyncedBatchNorm

RATES = (6, 12, 18)  # Dilations of the pyramid
DROPOUT = 0.5  # The share of channels that is left out in training, in the pyramid and before a logit
NUM_BRANCHES = len(RATES) + 2  # Of the pyramid, with a 1×1 convolution and the mean over the image


class ResidualUnit(nn.Module):
    """The input plus two 3×3 convolutions of it, which may be dilated (y = F(x) + x)."""

    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.residual = two_convolutions(width, width, dilation)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return nn.functional.relu(self.residual(x) + x)


class MilUnit(nn.Module):
    """A residual unit whose shortcut takes the image in again (y = F(x) + G(x, v), Eq. 2).

    G convolves the image, concatenates it with the input and convolves both. Two readings of Fig. 2 agree that the
    image gets as many channels as the input has.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.residual = two_convolutions(before, after)
        self.image = conv_block((3, before))
        self.merge = conv_block((2 * before, after))

    def forward(self, x: Float[Tensor, "B C H W"], image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D H W"]:
        """Features of the input and of the image, which is scaled down to the input's size."""
        shortcut = self.merge(torch.cat([x, self.image(image)], dim=1))
        return nn.functional.relu(self.residual(x) + shortcut)


def two_convolutions(before: int, after: int, dilation: int = 1) -> nn.Sequential:
    """Two 3×3 convolutions with normalisation, and ReLU between them."""
    first, second = (
        nn.Conv2d(width, after, 3, padding=dilation, dilation=dilation, bias=False) for width in (before, after)
    )
    return nn.Sequential(first, SyncedBatchNorm(after), nn.ReLU(inplace=True), second, SyncedBatchNorm(after))


class AtrousPyramid(nn.Module):
    """What surrounds a pixel at several distances: a 1×1, three dilated 3×3 convolutions and the mean over the image.

    Each is followed by a 1×1 convolution, dropout and another 1×1 convolution to few channels; all are concatenated.
    There is no normalisation: of a mean over the image it would be one of very few numbers.
    """

    def __init__(self, before: int, hidden: int, after: int) -> None:
        super().__init__()
        first = [nn.Conv2d(before, hidden, 1)]
        first += [nn.Conv2d(before, hidden, 3, padding=rate, dilation=rate) for rate in RATES]
        first += [nn.Conv2d(before, hidden, 1)]
        self.first = nn.ModuleList(first)
        self.second = nn.ModuleList(nn.Conv2d(hidden, hidden, 1) for _ in first)
        self.last = nn.ModuleList(nn.Conv2d(hidden, after, 1) for _ in first)

    def forward(self, x: Float[Tensor, "B C H W"], kept: Bool[Tensor, "B F"] | None = None) -> Float[Tensor, "B D H W"]:
        """Features of all branches; `kept` are the channels that dropout leaves, of one branch after the other."""
        chosen = [None] * NUM_BRANCHES if kept is None else kept.chunk(NUM_BRANCHES, dim=1)
        found = []
        for i in range(NUM_BRANCHES):
            seen = x.mean(dim=(2, 3), keepdim=True) if i == NUM_BRANCHES - 1 else x
            hidden = nn.functional.relu(self.first[i](seen))
            hidden = nn.functional.relu(self.second[i](hidden))
            found.append(nn.functional.relu(self.last[i](drop(hidden, chosen[i]))).expand(-1, -1, *x.shape[2:]))
        return torch.cat(found, dim=1)


def drop(x: Float[Tensor, "B C H W"], kept: Bool[Tensor, "B C"] | None) -> Float[Tensor, "B C H W"]:
    """The input without the channels that are not kept, the others larger by as much; all of it if there is no choice.

    Whole channels, drawn with the batch, so that any number of ranks drops the same.
    """
    return x if kept is None else x * kept[:, :, None, None].to(x.dtype) / (1 - DROPOUT)
