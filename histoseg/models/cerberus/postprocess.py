"""Instance maps from what a decoder predicts: the published post-processing of Cerberus, in its two variants.

Decoders predict eroded objects, so that neighbours come apart; here objects get back what erosion took. Numbers are
those of `histoseg.structures`. Two variants belong to two kinds of target: with two classes (Cerberus), and with
contours as a third (Cerberus+).

Connectivity is by edges throughout, as in that code. OpenCV labels, in the same order as scipy; its watershed is
another algorithm with other results, so that is scikit-image's.
"""

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from scipy import ndimage
from skimage.segmentation import watershed
from torch import Tensor

from histoseg.maps.evidence import Evidence
from histoseg.maps.objects import renumber
from histoseg.structures import MPP, Flood, Growth, structure_of_objects
from histoseg.types import InstanceMap

BACKGROUND, INNER, CONTOUR = 0, 1, 2  # The channels.
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
    labels = _pieces(mask, growth.min_px)
    element = ellipse(growth.element_px)
    grown = np.zeros(labels.shape, np.int32)
    margin = growth.element_px
    for i, box in enumerate(ndimage.find_objects(labels)):
        rows, columns = (slice(max(side.start - margin, 0), side.stop + margin) for side in box)
        mask = (labels[rows, columns] == i + 1).view(np.uint8)
        grown[rows, columns][fill_holes(cv2.dilate(mask, element)) > 0] = i + 1
    return renumber(grown)


def _flood(mask: Bool[np.ndarray, "H W"], inner: Float32[np.ndarray, "H W"], flood: Flood) -> InstanceMap:
    """Watershed of the inner probability, from markers and over the pixels that are inner or contour."""
    pieces = _pieces(cv2.erode(mask.view(np.uint8), ellipse(flood.mask_element_px)) > 0, flood.mask_min_px)
    seeds = _pieces(inner > flood.marker_threshold, flood.marker_min_px) > 0
    _, markers = cv2.connectedComponents(fill_holes(seeds.view(np.uint8)), connectivity=4, ltype=cv2.CV_32S)
    return renumber(_watershed(inner, markers, pieces))


def _watershed(inner: Float32[np.ndarray, "H W"], markers: InstanceMap, pieces: InstanceMap) -> InstanceMap:
    """What scikit-image's watershed of `-inner` gives within the pieces, which are connected.

    A piece with one marker is flooded from it at any probabilities; the watershed runs over the others only,
    and pixels of one piece do not depend on those of another. But it takes markers' equal probabilities in an order
    that depends on all of them, so where that could change anything, it runs over everything.
    """
    is_marked = (markers > 0) & (pieces > 0)
    piece_of_pixel, marker_of_pixel = pieces[is_marked], markers[is_marked]
    marker_of_piece = np.zeros(pieces.max(initial=0) + 1, np.int32)
    marker_of_piece[piece_of_pixel] = marker_of_pixel  # One of them, if there are several.
    is_shared = np.zeros(len(marker_of_piece), bool)
    is_shared[piece_of_pixel[marker_of_piece[piece_of_pixel] != marker_of_pixel]] = True
    is_contested = is_shared[pieces]
    if _has_ties(inner, markers, np.where(is_contested, pieces, 0)):
        is_contested = pieces > 0
    flooded = watershed(-inner, markers, mask=is_contested)  # type: ignore[no-untyped-call]  # it has no types
    return np.asarray(np.where(is_contested, flooded, marker_of_piece[pieces]), np.int32)


def _has_ties(inner: Float32[np.ndarray, "H W"], markers: InstanceMap, pieces: InstanceMap) -> bool:
    """Whether markers have equally probable pixels in one piece, of those next to what is to be flooded."""
    is_free = ((pieces > 0) & (markers == 0)).view(np.uint8)
    is_active = (cv2.dilate(is_free, ellipse(3)) > 0) & (pieces > 0) & (markers > 0)
    codes = pieces[is_active].astype(np.int64) << 32 | inner[is_active].view(np.int32)  # Equal floats, equal bits.
    return len(np.unique(codes)) < len(codes)


def _pieces(mask: Bool[np.ndarray, "H W"], min_px: int) -> InstanceMap:
    """Connected pieces of at least `min_px` pixels, labelled from 1."""
    _, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    is_kept = np.bincount(labels.ravel()) >= min_px
    is_kept[0] = False  # The background.
    new_labels = np.where(is_kept, np.cumsum(is_kept), 0).astype(np.int32)
    return np.asarray(new_labels[labels])


def ellipse(size_px: int) -> UInt8[np.ndarray, "K K"]:
    """The ellipse of a size, by which maps are eroded and dilated."""
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size_px, size_px)))


def fill_holes(mask: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """The mask with everything inside its outlines, in place."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return np.asarray(cv2.drawContours(mask, outlines, -1, 1, cv2.FILLED))
