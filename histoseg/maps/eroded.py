"""What erosion leaves of objects, each eroded by itself: classes that networks learn, so that neighbours come apart."""

import cv2
import numpy as np
from jaxtyping import UInt8

from histoseg.types import InstanceMap

BACKGROUND, INNER, CONTOUR = 0, 1, 2  # The classes, and the channels that predict them


def inner_map(instance_map: InstanceMap, element_px: int) -> UInt8[np.ndarray, "H W"]:
    """1 where a pixel is left after each object is eroded by itself, else 0 (the published code's `IP-ERODED`).

    What lies outside the map erodes nothing.
    """
    return _inner(*_neighbourhood(instance_map, element_px))


def contour_map(instance_map: InstanceMap, element_px: int) -> UInt8[np.ndarray, "H W"]:
    """The same, and 2 where an object is dilated but not eroded (the published code's `IP-ERODED-CONTOUR`).

    Contours of neighbours merge. None covers another object's inner pixels, as the element is symmetric.
    """
    lowest, highest = _neighbourhood(instance_map, element_px)
    inner = _inner(lowest, highest)
    is_dilated = (highest > 0).view(np.uint8)
    return np.asarray(CONTOUR * is_dilated - inner)  # 2 - 1 is inner; what is eroded has been dilated, too.


def _inner(lowest: np.ndarray, highest: np.ndarray) -> UInt8[np.ndarray, "H W"]:
    """Where all neighbours belong to one object, which is what erosion of that object leaves."""
    return np.asarray((lowest == highest) & (highest > 0), np.uint8)


def _neighbourhood(instance_map: InstanceMap, element_px: int) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest id that each pixel has under the element, of those within the map."""
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (element_px, element_px))
    ids = _in_16_bits(instance_map)
    return cv2.erode(ids, element), cv2.dilate(ids, element)


def _in_16_bits(instance_map: InstanceMap) -> np.ndarray:
    """The map for OpenCV, which filters no int32: ids as they are, or renumbered and in float32 if there are many."""
    if instance_map.max(initial=0) <= np.iinfo(np.uint16).max:
        return instance_map.astype(np.uint16)
    ids, flat = np.unique(instance_map, return_inverse=True)
    offset = 0 if ids[0] == 0 else 1  # Without background, the lowest id must not become 0.
    return (flat.reshape(instance_map.shape) + offset).astype(np.float32)
