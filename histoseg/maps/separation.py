"""Instance maps from evidence, by the rule of a structure: eroded pieces are grown, or objects are flooded.

What erosion took from objects, so that neighbours come apart, they get back here. The rules and their numbers are those
of `histoseg.structures`.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from histoseg.maps.evidence import Evidence
from histoseg.maps.flooding import ellipse, fill_holes, flood, label_pieces
from histoseg.maps.objects import renumber
from histoseg.maps.runs import find_runs
from histoseg.structures import Flood, Growth
from histoseg.types import InstanceMap


def make_objects(evidence: Evidence, rule: Growth | Flood) -> InstanceMap:
    """The objects that a rule makes, with ids from 1 on, none missing.

    Where grown objects overlap, the later one covers the earlier.

    Raises:
        ValueError: If objects are to be flooded and the evidence has no inner probability.
    """
    if not evidence.mask.size:  # OpenCV takes no image without pixels.
        return np.zeros(evidence.mask.shape, np.int32)
    if isinstance(rule, Flood):
        if evidence.inner is None:
            raise ValueError("objects are flooded, so evidence needs the inner probability")
        return _flood(evidence.mask, evidence.inner, rule)
    return _grow(evidence.mask, rule)


def _grow(mask: Bool[np.ndarray, "H W"], growth: Growth) -> InstanceMap:
    """Pieces that are large enough, each dilated and its holes filled, one in its own box after the other."""
    labels = label_pieces(mask, growth.min_px)
    element = ellipse(growth.element_px)
    grown = np.zeros(labels.shape, np.int32)
    margin = growth.element_px
    boxes = find_runs(labels).find_boxes(int(labels.max(initial=0)) + 1)[1:]
    for i, (top, left, bottom, right) in enumerate(boxes.tolist(), start=1):
        box = slice(max(top - margin, 0), bottom + margin), slice(max(left - margin, 0), right + margin)
        piece = (labels[box] == i).view(np.uint8)
        grown[box][fill_holes(cv2.dilate(piece, element)) > 0] = i
    return renumber(grown)


def _flood(mask: Bool[np.ndarray, "H W"], inner: Float32[np.ndarray, "H W"], rule: Flood) -> InstanceMap:
    """Watershed of the inner probability, from markers and over the pixels that are inner or contour."""
    pieces = label_pieces(cv2.erode(mask.view(np.uint8), ellipse(rule.mask_element_px)) > 0, rule.mask_min_px)
    seeds = label_pieces(inner > rule.marker_threshold, rule.marker_min_px) > 0
    _, markers = cv2.connectedComponents(fill_holes(seeds.view(np.uint8)), connectivity=4, ltype=cv2.CV_32S)
    return renumber(flood(inner, markers, pieces))
