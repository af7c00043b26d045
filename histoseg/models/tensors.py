"""Patches as tensors on the model's device."""

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor, nn

from histoseg.types import Patches


def device_of(model: nn.Module) -> torch.device:
    """Where the model computes."""
    return next(model.parameters()).device


def to_tensors(patches: Patches, device: torch.device) -> tuple[UInt8[Tensor, "B H W 3"], Int64[Tensor, "B H W"]]:
    """Images and semantic maps on a device; images travel as bytes and become numbers there."""
    images = torch.from_numpy(patches.images).to(device, non_blocking=True)
    return images, torch.from_numpy(patches.semantic_maps).to(device, non_blocking=True).long()
