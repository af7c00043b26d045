"""What is asked of a device: to be waited for, its peaks, its memory, and how much a call computes."""

from collections.abc import Callable

import torch
from cards import find_card
from torch.utils.flop_counter import FlopCounterMode

from histoseg.distributed import sum_over_ranks, world_size
from histoseg.runs.config import Precision

_COUNTED: dict[str, float] = {}


def wait_for(device: torch.device) -> None:
    """Return when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget_peak(device: torch.device) -> None:
    """Let the highest memory be counted from now on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_gib(device: torch.device) -> float | None:
    """The most memory that tensors took since `forget_peak`."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None


def share_of_peak(tera: float | None, precision: Precision, device: torch.device) -> float | None:
    """What part of the peaks of all ranks' cards that is."""
    card = find_card(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    peak = None if card is None else card.peak(precision)
    return None if tera is None or peak is None else 1e12 * tera / (peak * world_size())


def count_flops(name: str, call: Callable[[], object], device: torch.device) -> float | None:
    """FLOPs of convolutions and matrix products in a call, on all ranks together; None if the memory does not suffice.

    Counted once for each name: variants of a row differ in how fast they compute, not in how much.
    """
    if name not in _COUNTED:
        try:
            with FlopCounterMode(display=False) as counter:
                call()
        except torch.OutOfMemoryError:  # Compiled, it needed less.
            return None
        total = torch.tensor(float(counter.get_total_flops()), dtype=torch.float64, device=device)
        _COUNTED[name] = float(sum_over_ranks(total))
    return _COUNTED[name]
