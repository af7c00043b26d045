"""Instance maps from what a decoder predicts: the published post-processing of Cerberus, in its two variants.

Decoders predict eroded objects, so that neighbours come apart; here objects get back what erosion took. Numbers are
those of the code published with Cerberus (Graham et al. 2023), whose paper has none, at 0.5 microns per pixel. Two
variants belong to two kinds of target: with two classes (Cerberus), and with contours as a third (Cerberus+).

Connectivity is by edges throughout, as in that code. OpenCV labels, in the same order as scipy; its watershed is
another algorithm with other results, so that is scikit-image's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8
from scipy import ndimage
from skimage.segmentation import watershed

from histoseg.maps.objects import renumber
from histoseg.types import InstanceMap, Structure

BACKGROUND, INNER, CONTOUR = 0, 1, 2  # The channels.
CONTOUR_THRESHOLD = 0.5


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How objects are made from the probability of being inside one.

    Attributes:
        threshold: Pixels above it count.
        min_px: Pieces of fewer pixels are dropped.
        element_px: Size of the ellipse by which the rest are dilated.
    """

    threshold: float
    min_px: int
    element_px: int


# Published code. Targets of glands are eroded by 11 pixels, so ten do not give all back, and an even element grows more
# to the right and down.
WITHOUT_CONTOUR: Mapping[Structure, Growth] = {
    "gland": Growth(threshold=0.5, min_px=1500, element_px=11),
    "lumen": Growth(threshold=0.5, min_px=150, element_px=3),
    "nuclei": Growth(threshold=0.5, min_px=8, element_px=3),
}
WITH_CONTOUR: Mapping[Structure, Growth] = {
    "gland": Growth(threshold=0.55, min_px=1000, element_px=10),
    "lumen": Growth(threshold=0.5, min_px=150, element_px=2),
}
# Published code, for nuclei with contours: what is nucleus at all, and the markers from which the watershed floods.
MASK_THRESHOLD, MASK_ELEMENT_PX, MASK_MIN_PX = 0.5, 3, 8
MARKER_THRESHOLD, MARKER_MIN_PX = 0.5, 4


def separate(probabilities: Float32[np.ndarray, "C H W"], structure: Structure, contour: bool) -> InstanceMap:
    """The objects of one structure, with ids from 1 on, none missing, in the order of their first predicted pixels.

    Where grown objects overlap, the later one covers the earlier, as in the published code. Unlike there, objects near
    the map's border grow as others do, and the id of an object of which nothing is left goes to the next one.

    Channels are the probabilities of background and inner; with contours, of background, inner and contour.

    Raises:
        ValueError: If the structure is not made of objects, or there are more or fewer channels.
    """
    if structure not in WITHOUT_CONTOUR:
        raise ValueError(f"no objects in {structure!r}; choose from {', '.join(WITHOUT_CONTOUR)}")
    num_channels = 3 if contour else 2
    if len(probabilities) != num_channels:
        raise ValueError(f"{len(probabilities)} channels; with contour = {contour} there are {num_channels}")
    inner = probabilities[INNER]
    if not contour:
        return _grow(inner, np.ones(inner.shape, bool), WITHOUT_CONTOUR[structure])
    if structure == "nuclei":
        return _flood(inner, probabilities[CONTOUR])
    return _grow(inner, probabilities[CONTOUR] <= CONTOUR_THRESHOLD, WITH_CONTOUR[structure])


def within(instance_map: InstanceMap, gland_map: InstanceMap) -> InstanceMap:
    """What of the objects lies inside glands, renumbered: lumina elsewhere are no lumina (published code)."""
    return renumber(np.where(gland_map > 0, instance_map, 0).astype(np.int32))


def _grow(inner: Float32[np.ndarray, "H W"], is_allowed: Bool[np.ndarray, "H W"], growth: Growth) -> InstanceMap:
    """Pieces that are large enough, each dilated and its holes filled, one in its own box after the other."""
    labels = _pieces((inner > growth.threshold) & is_allowed, growth.min_px)
    element = _element(growth.element_px)
    grown = np.zeros(labels.shape, np.int32)
    margin = growth.element_px
    for i, box in enumerate(ndimage.find_objects(labels)):
        rows, columns = (slice(max(side.start - margin, 0), side.stop + margin) for side in box)
        mask = (labels[rows, columns] == i + 1).view(np.uint8)
        grown[rows, columns][_fill_holes(cv2.dilate(mask, element)) > 0] = i + 1
    return renumber(grown)


def _flood(inner: Float32[np.ndarray, "H W"], contour: Float32[np.ndarray, "H W"]) -> InstanceMap:
    """Watershed of the inner probability, from markers and over the pixels that are inner or contour."""
    is_nucleus = (inner + contour > MASK_THRESHOLD).view(np.uint8)
    pieces = _pieces(cv2.erode(is_nucleus, _element(MASK_ELEMENT_PX)) > 0, MASK_MIN_PX)
    seeds = _pieces(inner > MARKER_THRESHOLD, MARKER_MIN_PX) > 0
    _, markers = cv2.connectedComponents(_fill_holes(seeds.view(np.uint8)), connectivity=4, ltype=cv2.CV_32S)
    return renumber(_watershed(inner, markers, pieces))


def _watershed(inner: Float32[np.ndarray, "H W"], markers: InstanceMap, pieces: InstanceMap) -> InstanceMap:
    """What scikit-image's watershed of `-inner` gives within the pieces, each of which is connected.

    A piece with one marker is flooded from it, whatever the probabilities; the watershed runs over the others only,
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
    is_active = (cv2.dilate(is_free, _element(3)) > 0) & (pieces > 0) & (markers > 0)
    codes = pieces[is_active].astype(np.int64) << 32 | inner[is_active].view(np.int32)  # Equal floats, equal bits.
    return len(np.unique(codes)) < len(codes)


def _pieces(mask: Bool[np.ndarray, "H W"], min_px: int) -> InstanceMap:
    """Connected pieces of at least `min_px` pixels, labelled from 1."""
    _, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    is_kept = np.bincount(labels.ravel()) >= min_px
    is_kept[0] = False  # The background.
    new_labels = np.where(is_kept, np.cumsum(is_kept), 0).astype(np.int32)
    return np.asarray(new_labels[labels])


def _element(size_px: int) -> UInt8[np.ndarray, "K K"]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size_px, size_px)))


def _fill_holes(mask: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """The mask with everything inside its outlines, in place."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return np.asarray(cv2.drawContours(mask, outlines, -1, 1, cv2.FILLED))
