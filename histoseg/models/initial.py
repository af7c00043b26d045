"""The numbers that networks begin with: drawn part by part, the same for the same seed."""

import zlib
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from histoseg.models.network import Network, innermost_channels

Drawn = TypeVar("Drawn", bound=Network)


def draw_weights(module: nn.Module) -> None:
    """Weights by He et al. 2015, by fan-out, and biases uniform within 1/√fan-in, torch's own: the published code's."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            bound = module.weight[0].numel() ** -0.5
            nn.init.uniform_(module.bias, -bound, bound)


def draw_parts(model: nn.Module, several: str, seed: int, draw: Callable[[nn.Module], None] = draw_weights) -> None:
    """Draw the weights of each part from a stream of its own name, so that none depends on which others there are.

    The part named `several` is made of parts. Only within `torch.random.fork_rng`.
    """
    for name, part in model.named_children():
        for inner, module in part.named_children() if name == several else [("", part)]:
            torch.manual_seed(zlib.crc32(f"{name}.{inner}".encode(), seed))  # torch keeps 32 bits only
            module.apply(draw)


def with_weights_of(fresh: Drawn, before: Network) -> Drawn:
    """A new network, which has from another one each tensor that fits."""
    own = fresh.state_dict()
    fits = {
        name: value for name, value in before.state_dict().items() if name in own and value.shape == own[name].shape
    }
    fresh.load_state_dict(fits, strict=False)
    return fresh


def drawn(
    make: Callable[[], Drawn], several: str, seed: int, draw: Callable[[nn.Module], None] = draw_weights
) -> Drawn:
    """A new network, the same for the same seed, see `draw_parts`; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        network = make()
        draw_parts(network, several, seed, draw)
    innermost_channels(network)
    return network
