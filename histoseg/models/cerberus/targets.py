"""What a decoder learns from an instance map: the class of each pixel, and how much the loss minds it.

Objects that touch must come apart again after prediction. So a decoder learns objects that are eroded, and where two of
them are close the loss weighs more (Graham et al. 2023, Cerberus, Sec. 3.2.2, after Ronneberger et al. 2015, U-Net,
Eq. 2). The papers give no numbers; those here, and those of `histoseg.structures`, are the published code's.

Classes are made by OpenCV on the whole map at once, weights object by object within boxes, as both are made for every
patch that is loaded.
"""

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from scipy import ndimage

from histoseg.maps.eroded import contour_map, inner_map
from histoseg.structures import MPP, structure_of_objects
from histoseg.types import InstanceMap, Target

W0 = 10.0  # Ronneberger et al. 2015, Sec. 3; sigma is the element's size where they have 5.
REACH_PX = 10  # Published code: an object's distance is known in its box and this far around it.
FAR_PX = 1000.0  # Published code: the distance where it is not known.


def instance_target(instance_map: InstanceMap, structure: str, contour: bool, mpp: float = MPP) -> Target:
    """Classes and weights of one patch of a structure, at `mpp` microns per pixel.

    Pieces of an object need no separate ids here: an element is connected, so no piece erodes differently because of
    another, and weights know pieces only.
    """
    element_px = structure_of_objects(structure).separation.at(mpp).element_px
    inner = inner_map(instance_map, element_px)
    classes = contour_map(instance_map, element_px) if contour else inner
    return Target(classes=classes, weights=weight_map(inner, element_px))


def weight_map(inner: UInt8[np.ndarray, "H W"], element_px: int) -> Float32[np.ndarray, "H W"]:
    """The weight of each pixel, 1 + w0 * exp(-((d1 + d2) / sigma)² / 2), after Ronneberger et al. 2015, Eq. 2.

    d1 and d2 are the distances to the nearest and second nearest eroded object. As in the published code they are
    known only in an object's box and REACH_PX around it, eroded objects themselves weigh 1, sigma is the element's
    size (so (d1 + d2)² is divided by 2 sigma², as in the paper), and the term for the frequency of classes is missing.
    With fewer than two objects it is 1 everywhere.
    """
    num_labels, labels = cv2.connectedComponents(inner, connectivity=4, ltype=cv2.CV_32S)
    if num_labels <= 2:  # One is the background.
        return np.ones(inner.shape, np.float32)
    nearest = np.full(inner.shape, FAR_PX, np.float32)
    second = nearest.copy()
    for i, box in enumerate(ndimage.find_objects(labels, num_labels - 1)):
        rows, columns = (slice(max(side.start - REACH_PX, 0), side.stop + REACH_PX) for side in box)
        _note_distances(labels[rows, columns] != i + 1, nearest[rows, columns], second[rows, columns])
    _make_exact(nearest)
    _make_exact(second)
    nearest += second
    return _weigh(nearest, inner, element_px)


def _weigh(sums: Float32[np.ndarray, "H W"], inner: UInt8[np.ndarray, "H W"], sigma: int) -> Float32[np.ndarray, "H W"]:
    """The weights for two distances' sums, in place: new arrays would take longer than what is computed in them."""
    np.square(sums, out=sums)
    sums /= -2 * sigma**2
    np.exp(sums, out=sums)
    sums *= W0
    sums[inner > 0] = 0
    sums += 1
    return sums


def _make_exact(distances: Float32[np.ndarray, "H W"]) -> None:
    """Make them roots of whole numbers, in place, as they should be: OpenCV's last bit differs from call to call."""
    np.square(distances, out=distances)
    np.rint(distances, out=distances)
    np.sqrt(distances, out=distances)


def _note_distances(is_outside: np.ndarray, nearest: np.ndarray, second: np.ndarray) -> None:
    """Enter one object's distances into the two shortest so far, in place."""
    distances = cv2.distanceTransform(is_outside.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    np.minimum(second, np.maximum(nearest, distances), out=second)
    np.minimum(nearest, distances, out=nearest)
