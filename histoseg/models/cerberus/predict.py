"""Cerberus on a whole image that fits into memory: objects of every structure, their classes, and those of tissue."""

from collections.abc import Collection, Iterator

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from histoseg.errors import ConfigError, DataError
from histoseg.maps.objects import compact_ids, vote_types
from histoseg.maps.windows import MarginWindows, Window
from histoseg.models.cerberus.crop import crop_to_core
from histoseg.models.cerberus.network import STRIDE_PX, Cerberus
from histoseg.models.cerberus.regions import CerberusRegions
from histoseg.models.prediction import ClassifiedObjects, Prediction
from histoseg.models.tensors import device_of
from histoseg.models.whole_image import predict_objects
from histoseg.structures import MPP, structure_of_objects
from histoseg.types import Image, InstanceMap


def predict(
    network: Cerberus, image: Image, windows: MarginWindows, chosen: Collection[str] = (), mpp: float = MPP
) -> Prediction:
    """The objects of some structures, as far as the network has decoders for them, and the tissue.

    Where the network also finds what a structure lies within, as glands for lumina, objects outside of it are dropped,
    as in the published code. Arguments are those of `NetworkSpec.predict`.
    """
    regions = CerberusRegions(network, mpp, tuple(chosen))
    return predict_objects(regions, image, windows, regions.wanted)


@torch.no_grad()
def classify(network: Cerberus, patches: UInt8[np.ndarray, "B H W 3"]) -> Float64[np.ndarray, "B K"]:
    """The probability of each class of tissue for patches of the size that the network was trained with."""
    logits = network.classify(network.encode(torch.from_numpy(patches).to(device_of(network))))
    return np.asarray(logits.double().softmax(dim=1)[:, :, 0, 0].cpu().numpy())


@torch.inference_mode()
def classify_objects(
    network: Cerberus,
    image: Image,
    instance_map: InstanceMap,
    structure: str,
    windows: MarginWindows,
) -> ClassifiedObjects:
    """The classes of given objects, each by all of its pixels.

    A probability is the mean over an object's pixels of softmax without background; the class is that of most pixels,
    see `histoseg.maps.objects.vote_types` (Sec. 4.3.4).

    Raises:
        ConfigError: If the network has no decoder for the classes of that structure.
        DataError: If that decoder produces NaN or infinite values.
    """
    decoder = structure_of_objects(structure).type_decoder
    if decoder not in network.parts.decoders:
        raise ConfigError(
            f"the network has no decoder {decoder!r}, only {', '.join(network.parts.decoders)}; train it by subtyping"
        )
    num_types = network.parts.decoders[decoder]
    ids, compact = compact_ids(instance_map)
    votes, sums = np.zeros(image.shape[:2], np.uint8), np.zeros((len(ids), num_types - 1))
    for window, logits in _windowed_logits(network, decoder, image, windows):
        place = compact[window.place]
        height, width = place.shape
        shown, inside = logits[:, :height, :width], place > 0
        if not bool(shown.isfinite().all()):
            raise DataError(f"decoder {decoder} produced NaN or infinite values; the model weights may be corrupt")
        votes[window.place] = shown.argmax(dim=0).cpu().numpy()
        found = shown[1:].softmax(dim=0).double().cpu().numpy()
        for i, probability in enumerate(found):
            sums[:, i] += np.bincount(place[inside], probability[inside], len(ids) + 1)[1:]
    probabilities = sums / sums.sum(axis=1, keepdims=True)
    classes, _ = vote_types(instance_map, votes, num_types)
    return ClassifiedObjects(probabilities=probabilities.astype(np.float32), classes=classes)


def _windowed_logits(
    network: Cerberus, decoder: str, image: Image, windows: MarginWindows
) -> Iterator[tuple[Window, Tensor]]:
    """Each window of an image with one decoder's logits of its middle."""
    for window in windows.over(image, STRIDE_PX):
        pixels = torch.from_numpy(window.read(image)[None]).to(device_of(network))
        features = network.encode(pixels)
        yield window, network.decode(features, decoder, crop_to_core(window))[0].float()
