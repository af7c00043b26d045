"""What anybody gets without learning: the score that a network must beat."""

import cv2
import numpy as np

from histoseg.maps.objects import renumber
from histoseg.models.cerberus.postprocess import WITHOUT_CONTOUR
from histoseg.types import Image, InstanceMap, Structure

# How far an image is blurred, in pixels of 0.5 µm: about the size of what must not be seen as an object of its own.
BLUR_PX = {"gland": 8.0, "lumen": 2.0, "nuclei": 1.0}


def otsu_objects(image: Image, structure: Structure) -> InstanceMap:
    """Connected pixels on one side of Otsu's threshold (1979) of grey values: lumina are bright, the others dark.

    Pieces too small for the structure are dropped, by the sizes that the network's own objects are held to.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), BLUR_PX[structure])
    side = cv2.THRESH_BINARY if structure == "lumen" else cv2.THRESH_BINARY_INV
    mask = cv2.threshold(grey, 0, 1, side | cv2.THRESH_OTSU)[1].astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    labels[stats[labels, cv2.CC_STAT_AREA] < WITHOUT_CONTOUR[structure].min_px] = 0
    return renumber(labels)
