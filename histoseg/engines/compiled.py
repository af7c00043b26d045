"""The network compiled by torch for this processor or GPU."""

import shutil

import torch
from torch import Tensor, nn

from histoseg.engines.eager import Forward, in_precision
from histoseg.runs.config import Precision


def can_compile(device: torch.device) -> bool:
    """Whether torch finds what it compiles with: a C++ compiler, and for a GPU a C compiler and Triton."""
    if device.type == "cuda":
        return shutil.which("gcc") is not None or shutil.which("clang") is not None
    return shutil.which("g++") is not None or shutil.which("clang++") is not None


def compile_heads(heads: nn.Module, precision: Precision) -> Forward:
    """The module, compiled at its first call, and a second time at the first with several windows."""
    compiled = torch.compile(heads, dynamic=False)

    def forward(images: Tensor) -> tuple[Tensor, ...]:
        if len(images) > 1:
            torch._dynamo.mark_dynamic(images, 0)  # One graph for all numbers of windows above one
        with torch.inference_mode(), in_precision(images.device, precision):
            found: tuple[Tensor, ...] = compiled(images)
        return found

    return forward
