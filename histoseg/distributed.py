"""Sums over all processes that train together; with one process, nothing happens."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def is_distributed() -> bool:
    """Whether there are other ranks."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if is_distributed() else 1


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all ranks, in place; with one rank, the tensor."""
    if is_distributed():
        dist.all_reduce(tensor)
    return tensor


def differentiable_sum(tensor: Tensor) -> Tensor:
    """The sum over ranks of a tensor that gradients flow through: each rank's loss depends on every rank's tensor."""
    total: Tensor = _Sum.apply(tensor)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return total


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:  # noqa: ARG004  # torch's signature
        return sum_over_ranks(tensor.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004  # torch's signature
        return sum_over_ranks(gradients[0].clone())
