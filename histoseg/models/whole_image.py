"""Objects of an image that fits into memory: one region without neighbours, settled at once."""

from collections.abc import Sequence

from histoseg.maps.windows import MarginWindows
from histoseg.models.prediction import Prediction
from histoseg.models.spec import RegionPredictor
from histoseg.slides.settle import Sides, settle
from histoseg.types import Image


def predict_objects(
    predictor: RegionPredictor, image: Image, windows: MarginWindows, wanted: Sequence[str]
) -> Prediction:
    """The objects of the wanted structures, and the tissue if the network has a head for it.

    Where the network also finds what a structure lies within, as glands for lumina, objects outside of it are dropped.
    """
    seen = predictor.evidence(image, windows.over(image, predictor.unit_px), (image.shape[0], image.shape[1]))
    settled = settle(seen.objects, predictor, Sides(), ("image", 0, 0))  # Without neighbours, so nothing is left.
    found = {one.structure: one for one in settled.found}
    return Prediction(
        instance_maps={name: found[name].instance_map for name in wanted},
        classes={name: found[name].classes for name in wanted},
        class_probabilities={name: found[name].class_probabilities for name in wanted},
        tissue=seen.tissue,
        tissue_px=predictor.square_px,
    )
