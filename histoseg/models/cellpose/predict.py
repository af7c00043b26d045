"""Objects in a whole image: pixels follow the flows, and those that end at the same place are one object.

The network sees window by window; flows are then followed over the whole image, by the package.
"""

import warnings
from collections.abc import Collection

import numpy as np
import torch
from jaxtyping import Float32

from histoseg.maps.windows import MarginWindows, read_windows
from histoseg.models.cellpose.network import NUM_OUT, Cellpose
from histoseg.models.prediction import Prediction
from histoseg.models.tensors import device_of, to_device
from histoseg.models.window_maps import PIXELS_AT_ONCE, put, require_finite
from histoseg.runs.extras import import_extra
from histoseg.types import Image, InstanceMap

UNIT_PX = 16  # Sides of windows
NUM_STEPS = 200  # Of a pixel along the flows at a mean diameter of 30 pixels; the default, as all that is not given


def predict_objects(
    network: Cellpose, image: Image, windows: MarginWindows, chosen: Collection[str] = ()
) -> Prediction:
    """The objects of the network's structure; nothing if others are chosen."""
    structure = network.parts.structure
    if chosen and structure not in chosen:
        return Prediction()
    found = follow(predict_flows(network, image, windows), network.parts.enlarge)
    count = int(found.max(initial=0))
    return Prediction(
        instance_maps={structure: found},
        classes={structure: np.zeros(count, np.uint8)},
        class_probabilities={structure: np.zeros(count)},
    )


@torch.inference_mode()
def predict_flows(network: Cellpose, image: Image, windows: MarginWindows) -> Float32[np.ndarray, "3 H W"]:
    """Flows down and right, and the logit of being in an object, of each pixel.

    Raises:
        DataError: If the network produces NaN or infinite values.
    """
    whole = np.zeros((*image.shape[:2], NUM_OUT), np.float32)
    shown = windows.over(image, UNIT_PX)
    for seen, pixels in read_windows(image, shown, max(1, PIXELS_AT_ONCE // shown[0].num_seen)):
        found = require_finite(network.encode(to_device(pixels, device_of(network))), network.parts.structure)
        put(whole, found.permute(0, 2, 3, 1).float().cpu().numpy(), seen)
    return np.ascontiguousarray(whole.transpose(2, 0, 1))


def follow(found: Float32[np.ndarray, "3 H W"], enlarge: int = 1) -> InstanceMap:
    """The objects that flows and logits make, with ids from 1 on.

    Args:
        found: See `predict_flows`.
        enlarge: How many times larger than the map the network saw the image; the larger, the shorter the ways.
    """
    dynamics = import_extra("cellpose", "dynamics")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about sparse tensors of the package
        masks = dynamics.resize_and_compute_masks(found[:2], found[2], niter=round(NUM_STEPS / enlarge))
    return np.asarray(masks, np.int32)
