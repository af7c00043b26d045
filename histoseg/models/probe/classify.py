"""Classes of objects from the patches about their middles."""

import numpy as np
import torch
from jaxtyping import Float32

from histoseg.errors import ConfigError
from histoseg.maps.objects import find_objects
from histoseg.models.prediction import ClassifiedObjects, most_probable
from histoseg.models.probe.network import Probe
from histoseg.models.tensors import device_of, to_device
from histoseg.representation.patches import cut_patches
from histoseg.representation.pool import pooled
from histoseg.types import Image, InstanceMap


def classify_objects(
    network: Probe, image: Image, instance_map: InstanceMap, structure: str, patch_px: int
) -> ClassifiedObjects:
    """The most probable class of each object.

    Raises:
        ConfigError: If the network has no head for the classes of that structure.
    """
    patches = cut_patches(image, find_objects(instance_map).centroids, patch_px)
    return classify_features(network, pooled(network, patches, network.parts.depths), structure)


def classify_features(network: Probe, features: Float32[np.ndarray, "N F"], structure: str) -> ClassifiedObjects:
    """The same by the pooled features of the patches about objects."""
    head = f"{structure}_type"
    if head not in network.heads:
        choices = ", ".join(network.heads)
        raise ConfigError(f"this model predicts no classes of {structure}; it has heads for {choices}")
    with torch.inference_mode():
        logits = network.head(head, to_device(features, device_of(network)))
    return most_probable(logits.float().softmax(dim=1).cpu().numpy())
