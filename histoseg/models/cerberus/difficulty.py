"""Where Cerberus is unsure: the entropy of what a decoder says about each pixel."""

import math

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from histoseg.errors import ConfigError
from histoseg.maps.windows import MarginWindows, read_windows
from histoseg.models.cerberus.network import STRIDE_PX, Cerberus
from histoseg.models.tensors import device_of, to_device
from histoseg.models.window_maps import PIXELS_AT_ONCE, put, require_finite
from histoseg.types import Image


@torch.no_grad()
def difficulty(network: Cerberus, image: Image, windows: MarginWindows, structure: str) -> Float32[np.ndarray, "H W"]:
    """The entropy of the classes of each pixel, as a share of the largest that there can be.

    Raises:
        ConfigError: If the network has no decoder for the structure.
        DataError: If the decoder produces NaN or infinite values.
    """
    if structure not in network.decoders:
        choices = ", ".join(name for name in network.decoders if not name.endswith("_type"))
        raise ConfigError(f"the network has no decoder for {structure}; choose from {choices}")
    found = np.zeros(image.shape[:2], np.float32)
    shown = windows.over(image, STRIDE_PX)
    for seen, pixels in read_windows(image, shown, max(1, PIXELS_AT_ONCE // shown[0].num_seen)):
        logits = network.decode(network.encode(to_device(pixels, device_of(network))), structure)
        put(found, entropy(require_finite(logits.float(), structure)).cpu().numpy(), seen)
    return found


def entropy(logits: Float[Tensor, "B C H W"]) -> Float[Tensor, "B H W"]:
    """The entropy of the softmax (Settles 2009, Active Learning Literature Survey, Sec. 3.1), divided by log C."""
    logs = logits.log_softmax(dim=1)
    return -(logs.exp() * logs).sum(dim=1) / math.log(logits.shape[1])
