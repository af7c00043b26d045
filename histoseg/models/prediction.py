"""What a network predicts in one image, whichever network it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, UInt8

from histoseg.types import InstanceMap, SemanticMap

Probabilities = Float32[np.ndarray, "_ _ _"]  # Classes, then rows and columns: of pixels, or of squares of tissue


@dataclass(frozen=True, kw_only=True)
class Detections:
    """Boxes that a network finds in an image, from the highest score down.

    Attributes:
        corners: Left, top, right and bottom in pixels.
        classes: From 1 on.
        scores: Within 0 and 1.
    """

    corners: Float32[np.ndarray, "N 4"]
    classes: UInt8[np.ndarray, " N"]
    scores: Float32[np.ndarray, " N"]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Objects by structure, classes of tissue by square, classes of pixels by task: what the network has heads for.

    Attributes:
        instance_maps: By structure; 0 is background.
        classes: By structure, the class of each of its objects in ascending order of their ids; 0 without a class.
        class_probabilities: The share of each object's pixels that have its class.
        tissue: Probabilities of the classes of tissue for squares of `tissue_px`, the first of them in the upper left
            corner; None if the network has no head for tissue.
        tissue_px: Side of those squares.
        semantic_maps: By task, the class of each pixel.
        boxes: By task, the boxes around its objects.
    """

    instance_maps: Mapping[str, InstanceMap] = field(default_factory=dict)
    classes: Mapping[str, np.ndarray] = field(default_factory=dict)
    class_probabilities: Mapping[str, np.ndarray] = field(default_factory=dict)
    tissue: Probabilities | None = None
    tissue_px: int = 0
    semantic_maps: Mapping[str, SemanticMap] = field(default_factory=dict)
    boxes: Mapping[str, Detections] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ClassifiedObjects:
    """The classes of given objects, in ascending order of their ids.

    Attributes:
        probabilities: Of each class from 1 on; background is left out, and each row sums to 1.
        classes: The class that a program would report, from 1 on; 0 for an object without one.
    """

    probabilities: Float32[np.ndarray, "N K"]
    classes: UInt8[np.ndarray, " N"]


def most_probable(probabilities: Float32[np.ndarray, "N K"]) -> ClassifiedObjects:
    """Objects of which the most probable class is reported."""
    return ClassifiedObjects(probabilities=probabilities, classes=(probabilities.argmax(axis=1) + 1).astype(np.uint8))
