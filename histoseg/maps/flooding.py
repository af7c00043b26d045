"""Objects that are flooded from markers: connected pieces, filled holes, and scikit-image's watershed made fast.

Connectivity is by edges throughout, as in the published code of Cerberus and HoVer-Net. OpenCV labels, in the same
order as scipy; its watershed is another algorithm with other results, so that is scikit-image's.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8
from skimage.segmentation import watershed

from histoseg.types import InstanceMap


def label_pieces(mask: Bool[np.ndarray, "H W"], min_px: int) -> InstanceMap:
    """Connected pieces of at least `min_px` pixels, labelled from 1."""
    _, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    is_kept = np.bincount(labels.ravel()) >= min_px
    is_kept[0] = False  # The background.
    new_labels = np.where(is_kept, np.cumsum(is_kept), 0).astype(np.int32)
    return np.asarray(new_labels[labels])


def fill_holes(mask: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """The mask with everything inside its outlines, in place."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return np.asarray(cv2.drawContours(mask, outlines, -1, 1, cv2.FILLED))


def ellipse(size_px: int) -> UInt8[np.ndarray, "K K"]:
    """An element for dilation and erosion."""
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size_px, size_px)))


def flood(heights: Float32[np.ndarray, "H W"], markers: InstanceMap, pieces: InstanceMap) -> InstanceMap:
    """What scikit-image's watershed of `-heights` gives within the pieces, which are connected.

    A piece with one marker is flooded from it whatever its heights are; the watershed runs over the others only, and
    pixels of one piece do not depend on those of another. But it takes markers' equal heights in an order that depends
    on all of them, so where that could change anything, it runs over everything.
    """
    is_marked = (markers > 0) & (pieces > 0)
    piece_of_pixel, marker_of_pixel = pieces[is_marked], markers[is_marked]
    marker_of_piece = np.zeros(pieces.max(initial=0) + 1, np.int32)
    marker_of_piece[piece_of_pixel] = marker_of_pixel  # One of them, if there are several.
    is_shared = np.zeros(len(marker_of_piece), bool)
    is_shared[piece_of_pixel[marker_of_piece[piece_of_pixel] != marker_of_pixel]] = True
    is_contested = is_shared[pieces]
    if _has_ties(heights, markers, np.where(is_contested, pieces, 0)):
        is_contested = pieces > 0
    flooded = watershed(-heights, markers, mask=is_contested)  # type: ignore[no-untyped-call]  # it has no types
    return np.asarray(np.where(is_contested, flooded, marker_of_piece[pieces]), np.int32)


def _has_ties(heights: Float32[np.ndarray, "H W"], markers: InstanceMap, pieces: InstanceMap) -> bool:
    """Whether markers have equally high pixels in one piece, of those next to what is to be flooded."""
    is_free = ((pieces > 0) & (markers == 0)).view(np.uint8)
    is_active = (cv2.dilate(is_free, ellipse(3)) > 0) & (pieces > 0) & (markers > 0)
    codes = pieces[is_active].astype(np.int64) << 32 | heights[is_active].view(np.int32)  # Equal floats, equal bits.
    return len(np.unique(codes)) < len(codes)
