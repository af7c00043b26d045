"""What HoVer-Net learns from an instance map: nuclear pixels, and how far each lies from the centre of its nucleus.

Graham et al. 2019, Sec. 3.1: distances are divided by the largest of each nucleus, on either side of its centre of mass
for itself, so that they are within -1 (left, top) and 1 (right, bottom). Where the published code rounds that centre
and counts pixels from 1, so that the middle one has no distance of 0, ours is exact.
"""

import numpy as np
from jaxtyping import Float32, Int64
from scipy import ndimage

from histoseg.maps.objects import number_pieces
from histoseg.types import InstanceMap, Target

LEAST_PX = 30  # Published code: nuclei that show fewer pixels have no distances, though they are nuclear.


def distance_target(instance_map: InstanceMap, margin_px: int) -> Target:
    """Classes (1 in nuclei) and distance maps (horizontal, vertical) of a patch without a margin on every side.

    Distances are those to the centre of all of a nucleus that the patch shows. Pieces of one id are nuclei of their
    own, as they are where a patch mirrors its image.
    """
    middle = tuple(slice(margin_px, side - margin_px) for side in instance_map.shape)
    pieces = number_pieces(instance_map)
    areas = np.bincount(pieces[middle].ravel(), minlength=int(pieces.max(initial=0)) + 1)
    pieces[(areas < LEAST_PX)[pieces]] = 0
    is_nuclear = instance_map[middle] > 0
    return Target(
        classes=is_nuclear.astype(np.uint8),
        weights=np.ones(is_nuclear.shape, np.float32),
        maps=np.ascontiguousarray(distance_maps(pieces)[:, *middle]),
    )


def distance_maps(instance_map: InstanceMap) -> Float32[np.ndarray, "2 H W"]:
    """The horizontal and the vertical distance of each pixel to the centre of mass of its object; 0 in background."""
    found = np.zeros((2, *instance_map.shape), np.float32)
    rows, columns = np.nonzero(instance_map)
    owners = instance_map[rows, columns]
    boxes = ndimage.find_objects(instance_map)
    for which, axis, places in ((0, 1, columns), (1, 0, rows)):
        first, last = (np.array([0, *(_end(box, axis, end) for box in boxes)], np.int64) for end in ("start", "stop"))
        found[which, rows, columns] = _scaled(places, owners, first, last - 1)
    return found


def _end(box: tuple[slice, ...] | None, axis: int, end: str) -> int:
    return int(getattr(box[axis], end)) if box is not None else 0


def _scaled(
    places: Int64[np.ndarray, " P"],
    owners: np.ndarray,
    first: Int64[np.ndarray, " N"],
    last: Int64[np.ndarray, " N"],
) -> Float32[np.ndarray, " P"]:
    """Places along one side as distances from the centre of their object, over the longest on that side of it."""
    count = len(first)
    centres = np.bincount(owners, places, count) / np.bincount(owners, minlength=count).clip(min=1)
    distances = places - centres[owners]
    longest = np.where(distances < 0, (centres - first)[owners], (last - centres)[owners])
    scaled = np.divide(distances, longest, out=np.zeros(len(places)), where=longest > 0)
    return np.asarray(scaled, np.float32)
