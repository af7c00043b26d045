"""Patches as tensors on the model's device."""

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

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
    """An array as a tensor; a GPU fetches it while the CPU goes on, which it can do from pinned memory only.

    To pin an array copies it, unless `pinned` has done so. Such an array must be kept until the GPU was waited for.
    """
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def start_fetch(tensors: Sequence[Tensor]) -> Callable[[], list[np.ndarray]]:
    """Begin to copy tensors to the CPU; what it returns waits for the copies. A GPU may compute more meanwhile."""
    copies = [tensor.to("cpu", non_blocking=True) for tensor in tensors]  # From a GPU into pinned memory
    if not any(tensor.is_cuda for tensor in tensors):
        return lambda: [copy.numpy() for copy in copies]
    done = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    done.record()

    def wait() -> list[np.ndarray]:
        done.synchronize()
        return [copy.numpy() for copy in copies]

    return wait


def pinned(batch: Any) -> Any:
    """The same batch with copies of its arrays in pinned memory: half of `to_device`, for another thread to do."""
    if isinstance(batch, np.ndarray):
        return _pin(batch)
    if isinstance(batch, tuple):
        return tuple(pinned(part) for part in batch)
    if is_dataclass(batch) and not isinstance(batch, type):
        return replace(batch, **{part.name: pinned(getattr(batch, part.name)) for part in fields(batch)})
    return batch


def _pin(array: np.ndarray) -> np.ndarray:
    return torch.from_numpy(array).pin_memory().numpy()
