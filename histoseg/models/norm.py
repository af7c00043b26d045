"""Batch normalisation whose batch is the whole step, however many ranks compute it."""

from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from histoseg.distributed import differentiable_sum, is_distributed


class SyncedBatchNorm(nn.BatchNorm2d):
    """Normalises by mean and variance over all ranks' images: N ranks compute what one would.

    torch's own SyncBatchNorm needs a GPU, and fails on a rank that has no image of a task. Parameters and buffers are
    those of BatchNorm2d, so checkpoints are interchangeable.
    """

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:  # noqa: A002  # torch's name
        """The input, normalised; in training the running statistics move towards those of the step."""
        if not (self.training and is_distributed()):
            return super().forward(input)
        channels = input.shape[1]
        count = torch.full((1,), input.numel() / channels, dtype=torch.float64, device=input.device)
        sums = differentiable_sum(torch.cat([_sum_with_squares(input), count]))
        mean, square = sums[:channels] / sums[-1], sums[channels:-1] / sums[-1]
        variance = square - mean * mean
        self._follow(mean.detach(), variance.detach(), sums[-1].detach())
        scale = self.weight * (variance + self.eps).rsqrt().to(self.weight.dtype)
        shift = self.bias - mean.to(self.weight.dtype) * scale
        normalised: Tensor = input * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
        return normalised.to(input.dtype)

    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics, as torch does: with the unbiased variance.

        The count stays a tensor: as a number it would make the GPU's queue run dry at each of a network's layers.
        """
        running_mean, running_var = self.get_buffer("running_mean"), self.get_buffer("running_var")
        with torch.no_grad():
            self.get_buffer("num_batches_tracked").add_(1)
            unbiased = variance * (count / (count - 1).clamp(min=1))
            running_mean.lerp_(mean.to(running_mean.dtype), self.momentum or 0.0)
            running_var.lerp_(unbiased.to(running_var.dtype), self.momentum or 0.0)


def _sum_with_squares(x: Float[Tensor, "B C H W"]) -> Float64[Tensor, " D"]:
    """Each channel's sum, then each channel's sum of squares (D = 2 C)."""
    sums: Tensor = _SumWithSquares.apply(x)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return sums


class _SumWithSquares(torch.autograd.Function):
    """In double precision, for single would lose the variance of channels whose mean is large.

    Autograd would keep the input in double precision for the way back; this keeps the input as it is, which the
    normalisation keeps anyway, and widens it again.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        wide = x.double()
        return torch.cat([wide.sum((0, 2, 3)), (wide * wide).sum((0, 2, 3))])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """The derivative of a sum is 1, and of a sum of squares 2 x."""
        (x,) = ctx.saved_tensors
        by_sum, by_squares = (part.view(1, -1, 1, 1) for part in gradients[0].chunk(2))
        return torch.addcmul(by_sum, by_squares, x.double(), value=2).to(x.dtype)
