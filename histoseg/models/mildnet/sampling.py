"""Random transformation sampling (Graham et al. 2019, Eq. 5): one image seen in several ways.

The mean of what the network predicts is a better prediction, its variance says where the network is uncertain. The
paper draws flips, rotations, Gaussian blur and Gaussian noise, without their amounts. Here rotations are by multiples
of 90°, which can be undone exactly, and the i-th transformation is the same for every window and image, so that a
prediction can be repeated.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

BLUR_PX = 1.0  # Deviation; this and the next are ours: about what neither hides a nucleus nor goes unseen
NOISE = 5.0  # Deviation, of 255
KERNEL_PX = 5  # Three pixels off the middle, a weight is 1 % of that in the middle.
SEED = 2019  # Of the stream that transformations are drawn from; any number would do


@dataclass(frozen=True, kw_only=True)
class Transformation:
    """One way to see an image: turned by so many times 90° anticlockwise, then perhaps flipped, blurred, noisy."""

    turns: int
    flipped: bool
    blurred: bool
    noise_seed: int | None  # None means no noise

    def see(self, images: UInt8[Tensor, "B H W 3"]) -> UInt8[Tensor, "B I J 3"]:
        """The images so transformed."""
        seen = torch.rot90(images, self.turns, (1, 2))
        seen = seen.flip(2) if self.flipped else seen
        values = seen.float()
        values = _blur(values) if self.blurred else values
        if self.noise_seed is not None:
            drawn = torch.randn(values.shape[1:], generator=torch.Generator().manual_seed(self.noise_seed))
            values = values + NOISE * drawn.to(values.device)
        return values.round().clamp(0, 255).to(torch.uint8)

    def undo(self, found: Float[Tensor, "B I J"]) -> Float[Tensor, "B H W"]:
        """What was found in a transformed image, where it is in the image itself."""
        found = found.flip(2) if self.flipped else found
        return torch.rot90(found, -self.turns, (1, 2))


def draw(number: int) -> Transformation:
    """The transformation of that number."""
    rng = np.random.default_rng([SEED, number])
    turns, flipped, blurred, is_noisy = (int(rng.integers(count)) for count in (4, 2, 2, 2))
    noise_seed = int(rng.integers(2**31)) if is_noisy else None
    return Transformation(turns=turns, flipped=bool(flipped), blurred=bool(blurred), noise_seed=noise_seed)


def mean_and_variance(
    predict: Callable[[UInt8[Tensor, "B _ _ 3"]], Float[Tensor, "N _ _"]],
    images: UInt8[Tensor, "B H W 3"],
    transformations: int,
) -> tuple[Float[Tensor, "N H W"], Float[Tensor, "N H W"]]:
    """Mean and variance over transformations of what is predicted (Eq. 5).

    With 0 transformations it is what is predicted of the images as they are. Of each image there may be several maps.
    """
    if not transformations:
        found = predict(images)
        return found, torch.zeros_like(found)
    chosen = [draw(number) for number in range(transformations)]
    found = torch.stack([each.undo(predict(each.see(images))) for each in chosen])
    return found.mean(dim=0), found.var(dim=0, correction=0)


def _blur(images: Float[Tensor, "B H W 3"]) -> Float[Tensor, "B H W 3"]:
    """Gaussian blur, rows and columns one after the other; the border is mirrored."""
    steps = torch.arange(KERNEL_PX, dtype=torch.float32, device=images.device) - KERNEL_PX // 2
    weights = torch.exp(-(steps**2) / (2 * BLUR_PX**2))
    weights = (weights / weights.sum()).expand(3, 1, 1, KERNEL_PX)
    half = KERNEL_PX // 2
    x = nn.functional.pad(images.permute(0, 3, 1, 2), (half, half, half, half), mode="reflect")
    x = nn.functional.conv2d(nn.functional.conv2d(x, weights, groups=3), weights.transpose(2, 3), groups=3)
    return x.permute(0, 2, 3, 1)
