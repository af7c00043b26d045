"""Objects made from a mask of eroded objects: the mask is opened, then its pieces are dilated (MILD-Net, Rota-Net).

Graham et al. 2019 (MILD-Net, p. 11) open what is above a threshold. The same authors' code for Graham et al. 2020
(DSF-CNN), which also separates glands by their contours, fills holes before it, and drops small pieces and dilates the
others after it.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool

from histoseg.maps.evidence import Evidence
from histoseg.maps.flooding import ellipse, fill_holes
from histoseg.maps.separation import make_objects
from histoseg.structures import Growth
from histoseg.types import InstanceMap


@dataclass(frozen=True, kw_only=True)
class Opening:
    """How objects are made of a mask.

    Attributes:
        element_px: Size of the ellipse by which the mask is opened, once its holes are filled; 1 changes nothing.
        growth: How large pieces must be, and by how much they are dilated.
    """

    element_px: int
    growth: Growth


def open_objects(mask: Bool[np.ndarray, "H W"], opening: Opening) -> InstanceMap:
    """The objects of a mask, with ids from 1 on, none missing.

    Outside of the mask is background: what is made of a piece does not depend on where around it the mask ends.
    """
    if not mask.size:  # OpenCV takes no image without pixels.
        return np.zeros(mask.shape, np.int32)
    filled = fill_holes(mask.astype(np.uint8))
    shape = ellipse(opening.element_px)
    opened = cv2.morphologyEx(filled, cv2.MORPH_OPEN, shape, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return make_objects(Evidence(mask=opened > 0), opening.growth)
