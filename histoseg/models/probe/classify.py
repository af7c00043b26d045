"""Classes of objects by the pooled features of the patches about their middles."""

import numpy as np
import torch
from jaxtyping import Float32

from histoseg.errors import ConfigError
from histoseg.models.prediction import ClassifiedObjects, most_probable
from histoseg.models.probe.network import Probe
from histoseg.models.tensors import device_of, to_device


def classify_features(network: Probe, features: Float32[np.ndarray, "N F"], structure: str) -> ClassifiedObjects:
    """The most probable class of each object.

    Raises:
        ConfigError: If the network has no head for the classes of that structure.
    """
    head = f"{structure}_type"
    if head not in network.heads:
        choices = ", ".join(network.heads)
        raise ConfigError(f"this model predicts no classes of {structure}; it has heads for {choices}")
    with torch.inference_mode():
        logits = network.head(head, to_device(features, device_of(network)))
    return most_probable(logits.float().softmax(dim=1).cpu().numpy())
