"""Objects by a threshold, without any learning: the baseline that a network must beat."""

import cv2
import numpy as np

from histoseg.maps.objects import renumber
from histoseg.structures import MPP, structure_of_objects
from histoseg.types import Image, InstanceMap


def otsu_objects(image: Image, structure: str, mpp: float = MPP) -> InstanceMap:
    """Connected pixels on one side of Otsu's threshold (1979) of grey values: the bright or the dark one.

    Pieces too small for the structure are dropped, by the sizes that the network's own objects are held to.
    """
    row = structure_of_objects(structure)
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), row.blur_um / (mpp or MPP))
    side = cv2.THRESH_BINARY if row.is_bright else cv2.THRESH_BINARY_INV
    mask = cv2.threshold(grey, 0, 1, side | cv2.THRESH_OTSU)[1].astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    labels[stats[labels, cv2.CC_STAT_AREA] < row.separation.at(mpp).without_contour.min_px] = 0
    return renumber(labels)
