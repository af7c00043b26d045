"""Classes of objects from the patches about their middles."""

import numpy as np
import torch
from jaxtyping import Float32

from histoseg.errors import ConfigError
from histoseg.maps.objects import find_objects
from histoseg.models.probe.network import Probe
from histoseg.models.tensors import device_of, to_device
from histoseg.representation.patches import cut_patches
from histoseg.representation.pool import pooled
from histoseg.types import Image, InstanceMap


def classify_objects(
    network: Probe, image: Image, instance_map: InstanceMap, structure: str, patch_px: int
) -> Float32[np.ndarray, "N K"]:
    """The probability of each class from 1 on of each object, by ascending id.

    Raises:
        ConfigError: If the network has no head for the classes of that structure.
    """
    head = f"{structure}_type"
    if head not in network.heads:
        choices = ", ".join(network.heads)
        raise ConfigError(f"this model predicts no classes of {structure}; it has heads for {choices}")
    features = pooled(network, cut_patches(image, find_objects(instance_map).centroids, patch_px), network.parts.depths)
    with torch.inference_mode():
        logits = network.head(head, to_device(features, device_of(network)))
        found: Float32[np.ndarray, "N K"] = logits.float().softmax(dim=1).cpu().numpy()
    return found
