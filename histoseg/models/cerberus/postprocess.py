"""Instance maps from what a decoder predicts: the published post-processing of Cerberus, in its two variants.

Decoders predict eroded objects, so that neighbours come apart; here objects get back what erosion took. Numbers are
those of `histoseg.structures`. Two variants belong to two kinds of target: with two classes (Cerberus), and with
contours as a third (Cerberus+).
"""

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from histoseg.maps.eroded import CONTOUR, INNER
from histoseg.maps.evidence import Evidence
from histoseg.maps.flooding import ellipse, fill_holes, flood, label_pieces
from histoseg.maps.objects import renumber
from histoseg.maps.runs import find_runs
from histoseg.structures import MPP, Flood, Growth, structure_of_objects
from histoseg.types import InstanceMap

CONTOUR_THRESHOLD = 0.5  # Published code


def separate(
    probabilities: Float32[np.ndarray, "C H W"], structure: str, contour: bool, mpp: float = MPP
) -> InstanceMap:
    """The objects of one structure, with ids from 1 on, none missing, in the order of their first predicted pixels.

    Where grown objects overlap, the later one covers the earlier, as in the published code. Unlike there, objects near
    the map's border grow as others do, and the id of an object that vanishes goes to the next one.

    Probabilities are those of background, inner and, with contours, contour, at `mpp` microns per pixel.

    Raises:
        ValueError: If the structure is not made of objects, or there are more or fewer channels.
    """
    rule = rule_of(structure, contour, mpp)
    num_channels = 3 if contour else 2
    if len(probabilities) != num_channels:
        raise ValueError(f"{len(probabilities)} channels; with contour = {contour} there are {num_channels}")
    inner = probabilities[INNER]
    mask = mask_of(torch.from_numpy(probabilities), rule).numpy()
    return make_objects(Evidence(mask=mask, inner=inner if isinstance(rule, Flood) else None), rule)


def rule_of(structure: str, contour: bool, mpp: float) -> Growth | Flood:
    """How objects of a structure are made, in pixels of `mpp` microns."""
    separation = structure_of_objects(structure).separation.at(mpp)
    return separation.with_contour if contour else separation.without_contour


def mask_of(probabilities: Float[Tensor, "C ..."], rule: Growth | Flood) -> Bool[Tensor, "..."]:
    """Where there is an eroded object, or an object where objects are flooded."""
    inner = probabilities[INNER]
    if isinstance(rule, Flood):
        return inner + probabilities[CONTOUR] > rule.mask_threshold
    if len(probabilities) == CONTOUR:
        return inner > rule.threshold
    return (inner > rule.threshold) & (probabilities[CONTOUR] <= CONTOUR_THRESHOLD)


def make_objects(evidence: Evidence, rule: Growth | Flood) -> InstanceMap:
    """The objects that a rule makes; see `separate`."""
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
