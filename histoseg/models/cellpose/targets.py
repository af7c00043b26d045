"""What Cellpose learns from an instance map: pixels of objects, and their flows, as its package computes them.

Stringer et al. 2021, Methods: heat spreads within each object from its centre; a pixel's flow is the direction in which
there is more of it, a vector of length 1.
"""

import numpy as np

from histoseg.maps.objects import number_pieces
from histoseg.runs.extras import import_extra
from histoseg.types import InstanceMap, Target


def flow_target(instance_map: InstanceMap) -> Target:
    """Classes (1 in objects) and flows (down, then right) of a patch.

    Pieces of one id are objects of their own, as they are where a patch mirrors its image.

    Raises:
        ConfigError: If the package is not installed.
    """
    flows = np.zeros((2, *instance_map.shape), np.float32)
    pieces = number_pieces(instance_map)
    if pieces.any():  # The package would warn of an empty map.
        import torch

        dynamics = import_extra("cellpose", "dynamics")
        flows[:] = dynamics.masks_to_flows(pieces, device=torch.device("cpu"))
    is_object = instance_map > 0
    return Target(classes=is_object.astype(np.uint8), weights=np.ones(is_object.shape, np.float32), maps=flows)
