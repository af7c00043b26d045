"""What MILD-Net learns from an instance map: where objects are, and where their contours are.

The paper says neither how wide a contour is nor how it is drawn. Here it is the band that Cerberus+ learns (Graham et
al. 2023): what an object gains when it is dilated and loses when it is eroded, by the element of its structure. So
objects without their contours are the eroded ones, and dilation by the same element brings them back.
"""

import numpy as np

from histoseg.maps.eroded import CONTOUR, contour_map
from histoseg.models.taught import require_sides
from histoseg.structures import MPP, structure_of_objects
from histoseg.types import InstanceMap, Target

STRIDE_PX = 8  # Of the network's smallest features
OBJECT_BIT, CONTOUR_BIT = 1, 2  # Pixels of an object near its border have both.


def object_and_contour(instance_map: InstanceMap, structure: str, mpp: float = MPP) -> Target:
    """Classes of one patch at `mpp` microns per pixel: 1 in an object, plus 2 on a contour. All pixels weigh the same.

    Raises:
        ConfigError: If the network cannot take a patch of that size.
    """
    require_sides(instance_map, STRIDE_PX, "MILD-Net")
    element_px = structure_of_objects(structure).separation.at(mpp).element_px
    is_contour = contour_map(instance_map, element_px) == CONTOUR
    classes = OBJECT_BIT * (instance_map > 0) + CONTOUR_BIT * is_contour
    return Target(classes=classes.astype(np.uint8), weights=np.ones(classes.shape, np.float32))
