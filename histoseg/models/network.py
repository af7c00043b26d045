"""What every network has in common, as the training loop and the scorers know it."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import nn


class Network(nn.Module, ABC):
    """A network that can be trained."""

    bf16: bool = False  # Whether it computes in bfloat16 where that is safe

    @abstractmethod
    def compile_parts(self) -> None:
        """Compile what is called in every step."""

    @abstractmethod
    def interpret_parts(self) -> None:
        """Back to plain calls: whole images come in many sizes, and each would be compiled again."""

    def _precision(self, device: torch.device) -> AbstractContextManager[object]:
        """Within, torch computes in bfloat16 where that is safe, if the network does."""
        return torch.autocast(device.type, torch.bfloat16) if self.bf16 else nullcontext()


COMPILED = "encode"


class EncodingNetwork(Network):
    """A network whose `encode` is what takes the time of a step."""

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def compile_parts(self) -> None:
        vars(self)[COMPILED] = torch.compile(getattr(self, COMPILED))

    def interpret_parts(self) -> None:
        vars(self).pop(COMPILED, None)


def innermost_channels(network: Network) -> None:
    """Lay out convolutions as they are fastest, on CPU and GPU alike: with the channels innermost."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


Kind = TypeVar("Kind", bound=Network)


def require_kind(network: Network, kind: type[Kind]) -> Kind:
    """The network; a TypeError if it is of another kind than the settings that are asked about it."""
    if not isinstance(network, kind):
        found = type(network).__name__
        raise TypeError(f"{found} is not a {kind.__name__}; give the settings and the network of one model")
    return network
