"""Objects that are flooded from markers: connected pieces, filled holes, and scikit-image's watershed made fast.

Connectivity is by edges throughout, as in the published code of Cerberus and HoVer-Net. OpenCV labels, in the same
order as scipy; its watershed is another algorithm with other results, so that is scikit-image's.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, UInt8
from skimage.segmentation import watershed

from histoseg.types import InstanceMap

BAND_PX = 64  # Rows of a map whose pieces are flooded together


def label_pieces(mask: Bool[np.ndarray, "H W"], min_px: int) -> InstanceMap:
    """Connected pieces of at least `min_px` pixels, labelled from 1."""
    _, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    is_kept = np.bincount(labels[mask], minlength=1) >= min_px
    is_kept[0] = False  # The background.
    new_labels = np.where(is_kept, np.cumsum(is_kept), 0).astype(np.int32)
    return _looked_up(new_labels, labels)


def _looked_up(table: np.ndarray, labels: InstanceMap) -> np.ndarray:
    """`table[labels]`, some rows at a time: numpy makes 64-bit numbers of labels first, and new memory is slow."""
    found = np.empty(labels.shape, table.dtype)
    for start in range(0, len(labels), BAND_PX):
        rows = slice(start, start + BAND_PX)
        np.take(table, labels[rows], out=found[rows], mode="clip")
    return np.asarray(found)


def fill_holes(mask: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """The mask with its holes, from which no way leads by edges to the outside."""
    empty = cv2.copyMakeBorder((mask == 0).view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    _, labels = cv2.connectedComponents(empty, connectivity=4, ltype=cv2.CV_32S)
    return np.asarray(labels[1:-1, 1:-1] != labels[0, 0]).view(np.uint8)


def ellipse(size_px: int) -> UInt8[np.ndarray, "K K"]:
    """An element for dilation and erosion."""
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size_px, size_px)))


def flood(
    heights: Float32[np.ndarray, "H W"], markers: InstanceMap, pieces: InstanceMap, *, in_rows: bool = False
) -> InstanceMap:
    """What scikit-image's watershed of `-heights` gives within the pieces, which are connected.

    A piece with one marker is flooded from it whatever its heights are. In others the watershed runs over the pixels
    without a marker and those of markers beside them, from which alone it spreads; pixels of one piece do not depend on
    those of another.

    But it takes equal heights of several markers in an order that depends on all pixels, so where that could change
    anything, it runs over everything. With `in_rows` the first in reading order is taken first instead: then objects do
    not depend on what else the map shows.
    """
    is_marked = (markers > 0) & (pieces > 0)
    piece_of_pixel, marker_of_pixel = pieces[is_marked], markers[is_marked]
    marker_of_piece = np.zeros(pieces.max(initial=0) + 1, np.int32)
    marker_of_piece[piece_of_pixel] = marker_of_pixel  # One of them, if there are several.
    is_shared = np.zeros(len(marker_of_piece), bool)
    is_shared[piece_of_pixel[marker_of_piece[piece_of_pixel] != marker_of_pixel]] = True
    is_contested = _looked_up(is_shared, pieces)
    is_free = is_contested & (markers == 0)
    is_active = (cv2.dilate(is_free.view(np.uint8), ellipse(3)) > 0) & is_contested & ~is_free
    if not in_rows and _has_ties(heights[is_active], markers[is_active], pieces[is_active]):
        return np.asarray(watershed(-heights, markers, mask=pieces > 0), np.int32)  # type: ignore[no-untyped-call]  # it has no types
    is_ordered = is_active if in_rows else np.zeros_like(is_active)
    flooded = _flood_by_bands(heights, is_ordered, markers * is_active, pieces, is_free | is_active)
    found = _looked_up(marker_of_piece, pieces)
    np.copyto(found, markers, where=is_contested)
    np.copyto(found, flooded, where=is_free)
    return np.asarray(found)


def _flood_by_bands(
    heights: Float32[np.ndarray, "H W"],
    is_ordered: Bool[np.ndarray, "H W"],
    markers: InstanceMap,
    pieces: InstanceMap,
    is_flooded: Bool[np.ndarray, "H W"],
) -> InstanceMap:
    """The watershed of each piece, of those together that begin within the same rows: short queues are quick.

    Of equal heights that are to be ordered, the first in reading order is taken first.
    """
    found = np.zeros_like(markers)
    places = np.flatnonzero(is_flooded)
    rows, owners = places // found.shape[1], pieces.ravel()[places]
    top, bottom = (np.zeros(pieces.max(initial=0) + 1, np.int64) for _ in range(2))
    top[owners[::-1]], bottom[owners] = rows[::-1], rows  # Of several rows the last one written stays.
    is_there = np.bincount(owners, minlength=len(top)) > 0
    for band in np.unique(top[is_there] // BAND_PX):
        chosen = is_there & (top // BAND_PX == band)
        part = slice(top[chosen].min(), bottom[chosen].max() + 1)
        mask = is_flooded[part] & np.take(chosen, pieces[part])
        depths = -without_ties(heights[part], is_ordered[part])
        flooded = watershed(depths, markers[part], mask=mask)  # type: ignore[no-untyped-call]  # it has no types
        found[part][mask] = flooded[mask]
    return found


def without_ties(heights: Float32[np.ndarray, "H W"], chosen: Bool[np.ndarray, "H W"]) -> Float64[np.ndarray, "H W"]:
    """The heights, of which equal ones among the chosen pixels fall in reading order, and no other order changes."""
    exact = heights.astype(np.float64)
    places = np.flatnonzero(chosen)
    exact.flat[places] -= np.spacing(heights.flat[places]).astype(np.float64) / 4 * (places / heights.size)
    return exact


def _has_ties(
    heights: Float32[np.ndarray, " N"], markers: Int32[np.ndarray, " N"], pieces: Int32[np.ndarray, " N"]
) -> bool:
    """Whether different markers have equal heights in one piece.

    Those of one marker are no ties: what is reached from either belongs to it, and no other marker comes between.
    """
    codes = pieces.astype(np.int64) << 32 | heights.view(np.int32)  # Equal floats, equal bits.
    order = np.argsort(codes)
    return bool(((np.diff(codes[order]) == 0) & (np.diff(markers[order]) != 0)).any())
