"""A few annotated and predicted objects, and a network that predicts them, worked by hand."""

from dataclasses import dataclass, field

import numpy as np

from histoseg.models.prediction import Prediction
from histoseg.models.spec import Heads
from histoseg.records.schema import Counts
from histoseg.runs.config import Data
from histoseg.types import IGNORE
from tests.small_store import make_sample

DATA = Data(patch_px=32, tissue_px=16, mpp=0.5, folds=True, scale=(1.0, 1.0), rotate_deg=0.0)
TISSUES = ("mucosa", "muscle", "fat")
SOURCES = ("glands", "cells", "unnamed", "tissue")

# Each image has a colour of its own, by which it is recognised. Truth and prediction of four images:
# One pair of 6 and 4 pixels that shares 4, so IoU 4 / 6; one missed object of 4; one of 2 that is not there.
GLAND_A = [[1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0], [0, 0, 0, 2, 2, 0], [0, 0, 0, 2, 2, 0]]
SEEN_A = [[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 2], [0, 0, 0, 0, 0, 2]]
# One object of 4 of 15 pixels, found as it is.
GLAND_B = [[0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
# One object of 3 of 6 pixels, of which nothing is found.
GLAND_EXTERNAL = [[1, 1, 1], [0, 0, 0]]
NOTHING = [[0, 0, 0], [0, 0, 0]]
# Nuclei of class 1, class 2 and, between them, pixels of which nothing is known.
CELLS_A = [[1, 1, 0, 0, 0, 2, 2]] * 2
TYPES_A = [[1, 1, 0, IGNORE, 0, 2, 2]] * 2
# The first object lies where nothing is known, and has class 2; the others are right but of class 1 both.
SEEN_CELLS_A, SEEN_TYPES_A = [[2, 2, 0, 1, 0, 3, 3]] * 2, [2, 1, 1]
# A nucleus of class 2 is found as such; two of class 1 are not there.
CELLS_B = [[1, 1, 0, 0, 0, 0, 0]] * 2
TYPES_B = [[2, 2, 0, 0, 0, 0, 0]] * 2
SEEN_CELLS_B, SEEN_TYPES_B = [[1, 1, 0, 2, 0, 3, 3]] * 2, [2, 1, 1]

SEEN = {  # By colour: objects, their classes, and what Otsu's threshold finds.
    10: (SEEN_A, [0, 0], GLAND_A),
    20: (GLAND_B, [0], np.zeros((3, 5))),
    30: (NOTHING, [], NOTHING),
    40: (SEEN_CELLS_A, SEEN_TYPES_A, SEEN_CELLS_A),
    50: (SEEN_CELLS_B, SEEN_TYPES_B, CELLS_B),
    60: (NOTHING, [], GLAND_EXTERNAL),
}

# Probabilities of the classes of tissue, by the colour of the middle of the tile.
TILES = {1: (0.7, 0.2, 0.1), 2: (0.1, 0.8, 0.1), 3: (0.6, 0.3, 0.1), 4: (0.2, 0.25, 0.55), 5: (0.1, 0.2, 0.7)}


def counts(tp, fp, fn, sum_iou):
    return Counts(tp=tp, fp=fp, fn=fn, sum_iou=sum_iou)


def image_of(colour, shape):
    return np.full((*shape, 3), colour, np.uint8)


def sample(key, colour, instances, classes=None):
    """Objects of class 1 where nothing else is said."""
    instances = np.array(instances)
    classes = np.minimum(instances, 1) if classes is None else classes
    return make_sample(key, classes, instances, image_of(colour, instances.shape))


def tile(key, colour, number):
    """A tile of class `number`, of 20 x 24 pixels; only the 16 x 16 in its middle have the colour."""
    image = image_of(99, (20, 24))
    image[2:18, 4:20] = colour
    return make_sample(key, np.full((20, 24), number), image=image)


def _unused(*_):
    raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Known:
    """Settings of a network that predicts SEEN and TILES, and notes what it is asked."""

    asked: list = field(default_factory=list, compare=False)
    sizes: list = field(default_factory=list, compare=False)

    build = extend = rebuild = regions = starting_weights = _unused

    def heads(self, network):
        return Heads(num_classes={"gland": 2, "nuclei": 2, "nuclei_type": 3, "tissue": 2})

    def predict(self, network, image, windows, *, heads, mpp):
        (structure,) = heads
        self.asked.append((structure, windows, mpp))
        instances, classes, _ = SEEN[int(image[0, 0, 0])]
        return Prediction(
            instance_maps={structure: np.array(instances, np.int32)},
            classes={structure: np.array(classes, np.uint8)},
        )

    def classify(self, network, patches):
        self.sizes.append(len(patches))
        assert patches.shape[1:] == (16, 16, 3)
        assert (patches == patches[:, :1, :1]).all()  # Of the middle, and of nothing else
        return np.array([TILES[int(colour)] for colour in patches[:, 0, 0, 0]])


@dataclass(frozen=True, kw_only=True)
class OnlyObjects:
    """Settings of a network without classes of patches."""

    build = extend = rebuild = regions = starting_weights = predict = _unused

    def heads(self, network):
        return Heads(num_classes={})


NETWORK = object()  # Which only its settings know how to ask
