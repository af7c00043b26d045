"""Convolutions over the group p4: shifts and rotations by multiples of 90° (Cohen & Welling 2016).

A feature has four maps, one for each orientation r of its filter; channel 4 c + r of a tensor is orientation r of
feature c. When the image turns by 90° anticlockwise, all maps turn with it and each takes the place of the next
orientation: r becomes r + 1, and 3 becomes 0. Every layer here keeps that, so what pools over orientations turns with
the image, and nothing else happens to it.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from histoseg.models.norm import SyncedBatchNorm

ORIENTATIONS = 4


class Lifting(nn.Module):
    """From an image to features: each filter in its four orientations (Eq. 10)."""

    def __init__(self, before: int, after: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(after, before, kernel, kernel))

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        turned = torch.stack([torch.rot90(self.weight, r, (2, 3)) for r in range(ORIENTATIONS)], dim=1)
        return nn.functional.conv2d(images, turned.flatten(0, 1), padding="same")


class GroupConvolution(nn.Module):
    """From features to features: a filter has four maps for each, which turn and change places (Eq. 11)."""

    def __init__(self, before: int, after: int, kernel: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(after, before, ORIENTATIONS, kernel, kernel))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        turned = torch.stack([torch.rot90(self.weight.roll(r, 2), r, (3, 4)) for r in range(ORIENTATIONS)], dim=1)
        return nn.functional.conv2d(x, turned.flatten(2, 3).flatten(0, 1), padding="same")


class OrientationNorm(SyncedBatchNorm):
    """Batch normalisation with one mean and one variance for the four orientations of a feature."""

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:  # noqa: A002  # torch's name
        batch, _, height, width = input.shape
        tall = input.reshape(batch, self.num_features, ORIENTATIONS * height, width)
        return super().forward(tall).reshape(input.shape)


def pool_orientations(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
    """The largest of each feature's four orientations (Cohen & Welling 2016, Sec. 6.3)."""
    batch, channels, height, width = x.shape
    return x.reshape(batch, channels // ORIENTATIONS, ORIENTATIONS, height, width).amax(dim=2)


def draw_weights(module: nn.Module) -> None:
    """Weights after He et al. 2015, by fan-in, which between features counts all orientations; biases 0."""
    if isinstance(module, Lifting | GroupConvolution | nn.Conv2d):
        nn.init.normal_(module.weight, std=(2 / module.weight[0].numel()) ** 0.5)
    if isinstance(module, nn.Conv2d) and module.bias is not None:
        nn.init.zeros_(module.bias)
