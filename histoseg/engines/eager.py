"""The network as torch runs it, operation by operation."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from histoseg.runs.config import Precision

Forward = Callable[[Tensor], tuple[Tensor, ...]]  # From windows as stored, B x H x W x 3, to the logits of some heads


def run_eagerly(heads: nn.Module, precision: Precision) -> Forward:
    """The module itself, without gradients."""

    def forward(images: Tensor) -> tuple[Tensor, ...]:
        with torch.inference_mode(), in_precision(images.device, precision):
            found: tuple[Tensor, ...] = heads(images)
        return found

    return forward


def in_precision(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Where convolutions are computed in a precision; float32 is what weights are stored in."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
