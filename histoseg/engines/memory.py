"""How many windows fit into a GPU's memory at once, found from what one takes."""

from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

import torch

SHARE = 0.7  # Of what is free; convolutions take more to work in as they grow, and other programs may come.
MOST = 32  # Windows; beyond that a GPU gains nothing.
Result = TypeVar("Result")


@runtime_checkable
class Memory(Protocol):
    """Memory of a device that computes."""

    def free_bytes(self) -> int:
        """How much can still be taken."""

    def measure(self, call: Callable[[], Result]) -> tuple[Result, int]:
        """The result of a call, and how many bytes more there were in use while it ran, at most."""

    def release(self) -> None:
        """Give back what is kept for later calls."""


class GpuMemory:
    """That of one GPU."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def free_bytes(self) -> int:
        """What no program has, and what torch has of it but does not use."""
        free, _ = torch.cuda.mem_get_info(self.device)
        return free + torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)

    def measure(self, call: Callable[[], Result]) -> tuple[Result, int]:
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        result = call()
        return result, torch.cuda.max_memory_allocated(self.device) - before

    def release(self) -> None:
        torch.cuda.empty_cache()


def windows_at_once(window_bytes: int, free_bytes: int) -> int:
    """How many windows to compute at once, where one takes so much of the memory that is free; at least one."""
    return max(1, min(MOST, int(SHARE * free_bytes) // max(1, window_bytes)))
