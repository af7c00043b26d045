"""Patches as tensors on the model's device."""

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor, nn

from histoseg.types import Patches


def device_of(model: nn.Module) -> torch.device:
    """Where the model computes."""
    return next(model.parameters()).device


def to_tensors(patches: Patches, device: torch.device) -> tuple[UInt8[Tensor, "B H W 3"], Int64[Tensor, "B H W"]]:
    """Images and semantic maps on a device; images travel as bytes and become numbers there."""
    return to_device(patches.images, device), to_device(patches.semantic_maps, device).long()


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """An array as a tensor; a GPU fetches it while the CPU goes on, which it can do from pinned memory only."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
