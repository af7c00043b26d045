"""Gradients over ranks, summed by ourselves: DistributedDataParallel is silently bypassed by an inner loop.

Each rank adds its share of the step's mean, so the sum over ranks is the gradient of the whole step.
"""

import math

import torch
import torch.distributed as dist
from torch import Tensor, nn

from histoseg.distributed import is_distributed, sum_over_ranks
from histoseg.models.norm import SyncedBatchNorm


def sum_gradients(model: nn.Module) -> None:
    """Replace `.grad` by its sum over ranks, in one transfer.

    A parameter without a gradient on every rank keeps none, so the optimiser leaves it alone: a head whose task was
    not drawn does not move, not even by momentum.
    """
    if not is_distributed():
        return
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    device = parameters[0].device
    present = sum_over_ranks(torch.tensor([float(p.grad is not None) for p in parameters], device=device))
    used = [parameter for parameter, count in zip(parameters, present.tolist(), strict=True) if count]
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1).float() for p in used])
    sum_over_ranks(flat)
    for parameter, part in zip(used, torch.split(flat, [p.numel() for p in used]), strict=True):
        # In the parameter's own order of memory, without which Adam leaves its fast path.
        parameter.grad = torch.empty_like(parameter).copy_(part.view_as(parameter))


def largest_gradient(model: nn.Module) -> Tensor:
    """The largest magnitude in any `.grad`; infinite or nan if one of them is, 0 without any."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients, math.inf)


def average_statistics(model: nn.Module) -> None:
    """Replace running statistics by their mean over ranks, so that every rank saves and scores the same model.

    Those of `SyncedBatchNorm`, and those of what is frozen, are the same on all ranks already; a mean would change the
    last bit of those at rest.
    """
    if is_distributed():
        for module in model.modules():
            is_equal = isinstance(module, SyncedBatchNorm) or not module.training
            for buffer in () if is_equal else module.buffers(recurse=False):
                if buffer.is_floating_point():
                    sum_over_ranks(buffer).div_(dist.get_world_size())
