"""Cerberus on a whole image that fits into memory: objects of every structure, and classes of tissue."""

from collections.abc import Collection

import numpy as np
import torch
from jaxtyping import Float64, UInt8

from histoseg.maps.windows import MarginWindows
from histoseg.models.cerberus.network import STRIDE_PX, Cerberus
from histoseg.models.cerberus.regions import CerberusRegions
from histoseg.models.prediction import Prediction
from histoseg.models.tensors import device_of
from histoseg.slides.settle import Sides, settle
from histoseg.structures import MPP
from histoseg.types import Image


def predict(
    network: Cerberus, image: Image, windows: MarginWindows, chosen: Collection[str] = (), mpp: float = MPP
) -> Prediction:
    """The objects of some structures, as far as the network has decoders for them, and the tissue.

    Where the network also finds what a structure lies within, as glands for lumina, objects outside of it are dropped,
    as in the published code. Arguments are those of `NetworkSpec.predict`.
    """
    regions = CerberusRegions(network, mpp, tuple(chosen))
    size_px = (image.shape[0], image.shape[1])
    seen = regions.evidence(image, windows.over(image, regions.unit_px), size_px)
    settled = settle(seen.objects, regions, Sides(), ("image", 0, 0))  # Without neighbours, so nothing is left.
    found = {one.structure: one for one in settled.found}
    wanted = [row.name for row in regions.wanted]
    return Prediction(
        instance_maps={name: found[name].instance_map for name in wanted},
        classes={name: found[name].classes for name in wanted},
        class_probabilities={name: found[name].class_probabilities for name in wanted},
        tissue=seen.tissue,
        tissue_px=network.parts.tissue_cells * STRIDE_PX,
    )


@torch.no_grad()
def classify(network: Cerberus, patches: UInt8[np.ndarray, "B H W 3"]) -> Float64[np.ndarray, "B K"]:
    """The probability of each class of tissue for patches of the size that the network was trained with."""
    logits = network.classify(network.encode(torch.from_numpy(patches).to(device_of(network))))
    return np.asarray(logits.double().softmax(dim=1)[:, :, 0, 0].cpu().numpy())
