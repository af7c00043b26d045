"""What a model predicts in an image that a program holds as an array, as arrays; nothing is read or written."""

import logging
from dataclasses import replace

import numpy as np

from histoseg.files.resolution import resolution_caveat
from histoseg.maps.resize import to_size
from histoseg.maps.windows import MarginWindows, Windows
from histoseg.models.prediction import Prediction
from histoseg.models.weights import Model
from histoseg.shards.resample import resample
from histoseg.structures import TISSUE
from histoseg.types import Image, Sample, is_credible_mpp, say_credible_mpp

logger = logging.getLogger(__name__)

LARGE_PX = 10_000**2  # All of an image is in memory at once, with Cerberus' five decoders 93 bytes a pixel: then 9 GB.


def segment(model: Model, image: np.ndarray, mpp: float | None = None, windows: Windows | None = None) -> Prediction:
    """What a model predicts in an image; maps have the size of the image.

    Args:
        model: See `histoseg.load_model`.
        image: uint8, H x W x 3, RGB.
        mpp: Microns per pixel of the image; None stands for those of the model.
        windows: How the image is divided; None takes squares of 1024 pixels with a margin of 152.

    Raises:
        ValueError: If the image has another shape or type, or no microscope has that resolution.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image has shape {image.shape} and type {image.dtype}; it must be H x W x 3 of uint8")
    if mpp is not None and not is_credible_mpp(mpp):
        raise ValueError(f"mpp = {mpp:g}: must be {say_credible_mpp()}")
    size_px = image.shape[0], image.shape[1]
    found = _look(model, image, model.mpp if mpp is None else mpp, windows or MarginWindows())
    return replace(
        found,
        instance_maps={name: to_size(label_map, size_px) for name, label_map in found.instance_maps.items()},
        semantic_maps={name: to_size(label_map, size_px) for name, label_map in found.semantic_maps.items()},
    )


def _look(model: Model, image: Image, mpp: float, windows: Windows) -> Prediction:
    """What a model predicts in an image that is resampled to the resolution that the model was trained at."""
    blank = np.zeros(image.shape[:2], np.uint8)
    given = Sample(key="image", patient="image", image=image, semantic_map=blank, mpp=mpp)
    shown = resample(given, model.mpp).image
    _warn_if_large(shown, model)
    for caveat in resolution_caveat(mpp, model.mpp):
        logger.warning("%s", caveat)
    return model.spec.predict(model.network, shown, windows, mpp=model.mpp)


def _warn_if_large(shown: Image, model: Model) -> None:
    height, width = shown.shape[:2]
    if height * width > LARGE_PX:
        heads = model.spec.heads(model.network).num_classes
        gigabytes = 4 * sum(count for head, count in heads.items() if head != TISSUE) * height * width / 1e9
        text = (
            "%d x %d px at %g microns per pixel: its maps alone take %.1f GB of memory; `histoseg segment` needs less"
        )
        logger.warning(text, width, height, model.mpp, gigabytes)
