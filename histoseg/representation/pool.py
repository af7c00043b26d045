"""Pooled features: what an encoder says of a patch as a whole, at several depths.

Cerberus (Graham et al. 2023), Sec. 3.3.1 and 4.3.3: "features from several positions of the encoder before applying
global average pooling". The paper names no positions. Here they are the outputs of a ResNet's four groups of residual
blocks (He et al. 2016, Table 1: conv2_x to conv5_x), where its resolution changes. The stem is left out: it is one
convolution, whose mean over a patch is little more than the patch's mean colour.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from histoseg.errors import ConfigError
from histoseg.models.tensors import device_of, to_device

DEPTHS = 4
AT_ONCE_PX = 2**18  # Pixels that a network sees at once: 256 patches of 32 px


@runtime_checkable
class Encoding(Protocol):
    """A network with an encoder whose features at several depths can be pooled.

    Attributes:
        has_depths: True; what other networks call `encode` gives something else.
    """

    has_depths: bool

    def encode(self, images: UInt8[Tensor, "B H W 3"]) -> list[Tensor]:
        """Features at each depth (B, channels, rows, columns), shallow ones first, of images as stored."""


def pooled(
    network: nn.Module, images: UInt8[np.ndarray, "B H W 3"], depths: int = DEPTHS
) -> Float32[np.ndarray, "B F"]:
    """The mean of each channel of the encoder's last so many depths, shallow ones first.

    The network is used as it predicts: with its running statistics, without dropout.

    Raises:
        ConfigError: If the network has no encoder.
    """
    encoding, was_training = require_encoder(network), network.training
    network.eval()
    step = max(1, AT_ONCE_PX // max(1, images.shape[1] * images.shape[2]))
    device = device_of(network)
    with torch.inference_mode():
        parts = [images[start : start + step] for start in range(0, max(1, len(images)), step)]
        found = [average(encoding.encode(to_device(part, device)), depths).float().cpu().numpy() for part in parts]
    network.train(was_training)
    return np.concatenate(found)


def average(features: Sequence[Tensor], depths: int) -> Float[Tensor, "B F"]:
    """The mean over rows and columns of each channel of the last so many features, as one vector for each image."""
    return torch.cat([feature.mean(dim=(2, 3)) for feature in features[-depths:]], dim=1)


def require_encoder(network: nn.Module) -> Encoding:
    """The network, which must have an encoder."""
    if not isinstance(network, Encoding):
        raise ConfigError(
            f"a network of the kind {type(network).__name__} has no encoder whose features could be pooled; "
            "name a model with one, as of the kind cerberus"
        )
    return network
