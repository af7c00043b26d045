"""What Rota-Net learns from an instance map: eroded objects, and of glands their contours as a third class.

Graham et al. 2019 have several classes in the branch of glands alone. How wide contours are is as for Cerberus+, with
which Graham et al. 2023 compare it; unlike there, all pixels weigh the same.
"""

from collections.abc import Iterable

import numpy as np

from histoseg.maps.eroded import contour_map, inner_map
from histoseg.models.taught import require_sides
from histoseg.structures import MPP, structure_of_objects
from histoseg.types import InstanceMap, Target

LEVELS = 5  # Of features, each half as large as the one before
STRIDE_PX = 2 ** (LEVELS - 1)  # Of the smallest
CONTOURED = frozenset({"gland"})  # Structures whose branch has a class for contours


def classes_of(structures: Iterable[str]) -> dict[str, int]:
    """How many classes the branch of each structure has."""
    return {name: 3 if name in CONTOURED else 2 for name in structures}


def eroded_target(instance_map: InstanceMap, structure: str, mpp: float = MPP) -> Target:
    """Classes of one patch at `mpp` microns per pixel: 1 inside an eroded object, and of glands 2 on a contour.

    Raises:
        ConfigError: If the network cannot take a patch of that size.
    """
    require_sides(instance_map, STRIDE_PX, "Rota-Net")
    element_px = structure_of_objects(structure).separation.at(mpp).element_px
    draw = contour_map if structure in CONTOURED else inner_map
    return Target(classes=draw(instance_map, element_px), weights=np.ones(instance_map.shape, np.float32))
