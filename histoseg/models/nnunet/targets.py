"""What nnU-Net learns from an instance map: the core and the border of each object, as two classes of pixels.

nnU-Net predicts classes of pixels. Its authors make objects of them by a border and a core ("border-core"), as in their
package acvl_utils and in ParticleSeg3D (Gotkowski et al. 2024, arXiv 2301.13319). The border's width is our choice:
what erosion by the element of the structure takes from an object, as for Cerberus (`histoseg.structures`).
"""

import numpy as np

from histoseg.maps.eroded import inner_map
from histoseg.runs.config import require
from histoseg.structures import MPP, structure_of_objects
from histoseg.types import InstanceMap, Target

BACKGROUND, CORE, BORDER = 0, 1, 2
NUM_CLASSES = 3


def border_and_core(instance_map: InstanceMap, structure: str, patch_px: int, mpp: float = MPP) -> Target:
    """Classes of one patch at `mpp` microns per pixel. All pixels weigh the same.

    Raises:
        ConfigError: If the network is made for patches of another side than `patch_px`.
    """
    for side in instance_map.shape:
        rule = f"network.patch_px, which is {patch_px}: nnU-Net has as many stages as its patches allow"
        require(side == patch_px, "data.patch_px or data.cut_px", side, rule)
    element_px = structure_of_objects(structure).separation.at(mpp).element_px
    is_core = inner_map(instance_map, element_px) > 0
    classes = np.where(is_core, CORE, BORDER * (instance_map > 0)).astype(np.uint8)
    return Target(classes=classes, weights=np.ones(classes.shape, np.float32))
