"""What was predicted in an image, in that image's own pixels: objects, maps, squares of tissue.

Coordinates are distances from the upper left corner of the image, as in QuPath: the middle of the first pixel is
(0.5, 0.5).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float64, Int32, UInt8

from histoseg.maps.objects import find_objects
from histoseg.maps.outlines import trace_polygons
from histoseg.models.prediction import Prediction, Probabilities
from histoseg.structures import structure

Ring = Float64[np.ndarray, "_ 2"]  # Corners of an outline as x, y; the last is joined to the first.
LabelMap = TypeVar("LabelMap", Int32[np.ndarray, "_ _"], UInt8[np.ndarray, "_ _"])


@dataclass(frozen=True, kw_only=True)
class PredictedImage:
    """A prediction and the image that it is of."""

    name: str  # The image's file name without its ending
    prediction: Prediction
    classes: Mapping[str, tuple[str, ...]]  # Class names, see `histoseg.models.weights.Model`
    image_px: tuple[int, int]  # Height and width of the image as the file has it
    seen_px: tuple[int, int]  # Height and width at which the network saw it
    mpp: float  # Microns per pixel of the image as the file has it
    caveats: tuple[str, ...] = ()  # Why the prediction may be worth little, a sentence each

    @property
    def scale(self) -> Float64[np.ndarray, " 2"]:
        """Pixels of the image per pixel that the network saw, along x and y."""
        return np.array([self.image_px[1] / self.seen_px[1], self.image_px[0] / self.seen_px[0]])

    def class_names(self, name: str) -> tuple[str, ...]:
        """The classes of a structure's objects, background first; empty without classes."""
        return self.classes.get(structure(name).type_decoder, ())

    def own_map(self, label_map: LabelMap) -> LabelMap:
        """A map in the image's own pixels: each takes the label at its middle, so small objects may vanish."""
        rows, columns = (
            np.minimum(((np.arange(whole) + 0.5) * part / whole).astype(np.int64), part - 1)
            for whole, part in zip(self.image_px, self.seen_px, strict=True)
        )
        own: LabelMap = label_map[np.ix_(rows, columns)]
        return own

    def visible_tissue(self) -> Probabilities | None:
        """The probabilities of those squares that lie in the image, at least in part; None without tissue."""
        prediction = self.prediction
        if prediction.tissue is None:
            return None
        rows, columns = (-(-side // prediction.tissue_px) for side in self.seen_px)
        return prediction.tissue[:, :rows, :columns]


@dataclass(frozen=True, kw_only=True)
class DetectedObject:
    """One object in the image's own pixels."""

    structure: str
    id: int  # Its number in the instance map
    class_name: str  # Empty without a class
    class_probability: float | None  # The share of its pixels that have this class; None without a class
    area_um2: float
    centroid: tuple[float, float]
    box: tuple[float, float, float, float]  # Left, top, right, bottom
    polygons: tuple[tuple[Ring, ...], ...]  # Of each piece, along its pixels' edges: the outer ring, then its holes

    @property
    def rings(self) -> list[Ring]:
        """All rings, whichever piece they are of."""
        return [ring for polygon in self.polygons for ring in polygon]


def list_objects(image: PredictedImage) -> list[DetectedObject]:
    """Every object, structure by structure, by ascending id; area and place are measured as predicted, then scaled."""
    return [found for name in image.prediction.instance_maps for found in _of_structure(image, name)]


def _of_structure(image: PredictedImage, name: str) -> Iterator[DetectedObject]:
    instance_map, scale = image.prediction.instance_maps[name], image.scale
    objects, polygons = find_objects(instance_map), trace_polygons(instance_map)
    names = image.class_names(name)
    um2 = image.mpp**2 * float(scale.prod())
    for i, (top, left, bottom, right) in enumerate(objects.boxes.tolist()):
        kind = int(image.prediction.classes[name][i]) if names else 0
        x, y = ((objects.centroids[i] + 0.5) * scale).tolist()
        yield DetectedObject(
            structure=name,
            id=int(objects.ids[i]),
            class_name=names[kind] if kind else "",
            class_probability=float(image.prediction.class_probabilities[name][i]) if kind else None,
            area_um2=float(objects.areas[i]) * um2,
            centroid=(x, y),
            box=(left * scale[0], top * scale[1], right * scale[0], bottom * scale[1]),
            polygons=tuple(tuple(ring * scale for ring in rings) for rings in polygons[int(objects.ids[i])]),
        )
