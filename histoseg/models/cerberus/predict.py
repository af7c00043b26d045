"""Cerberus on a whole image that fits into memory: objects of every structure, and classes of tissue."""

from collections.abc import Collection

import numpy as np
import torch
from jaxtyping import Float64, UInt8

from histoseg.maps.evidence import Evidence
from histoseg.maps.objects import vote_types, within
from histoseg.maps.windows import MarginWindows
from histoseg.models.cerberus.network import STRIDE_PX, Cerberus
from histoseg.models.cerberus.regions import CerberusRegions
from histoseg.models.prediction import Prediction
from histoseg.models.tensors import device_of
from histoseg.structures import MPP, structures
from histoseg.types import Image, InstanceMap


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
    found: dict[str, InstanceMap] = {}
    for name in regions.structures:  # The outermost first
        found[name] = regions.separate(name, seen.objects[name])
        outer = structures()[name].within
        if outer in found:
            found[name] = within(found[name], found[outer])
    votes = {
        row.name: vote(found[row.name], seen.objects[row.name], regions.num_types(row.name)) for row in regions.wanted
    }
    return Prediction(
        instance_maps={row.name: found[row.name] for row in regions.wanted},
        classes={name: chosen for name, (chosen, _) in votes.items()},
        class_probabilities={name: shares for name, (_, shares) in votes.items()},
        tissue=seen.tissue,
        tissue_px=network.parts.tissue_cells * STRIDE_PX,
    )


def vote(instance_map: InstanceMap, evidence: Evidence, num_types: int) -> tuple[np.ndarray, np.ndarray]:
    """Each object's class and its share, by ascending id; zeros without a decoder for classes."""
    if evidence.types is None:
        count = int(instance_map.max(initial=0))
        return np.zeros(count, np.uint8), np.zeros(count)
    return vote_types(instance_map, evidence.types, num_types)


@torch.no_grad()
def classify(network: Cerberus, patches: UInt8[np.ndarray, "B H W 3"]) -> Float64[np.ndarray, "B K"]:
    """The probability of each class of tissue for patches of the size that the network was trained with."""
    logits = network.classify(network.encode(torch.from_numpy(patches).to(device_of(network))))
    return np.asarray(logits.double().softmax(dim=1)[:, :, 0, 0].cpu().numpy())
