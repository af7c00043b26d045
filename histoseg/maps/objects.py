"""The objects of an instance map: where each lies, its outline, and the class that most of its pixels have."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float64, Int32, Int64, UInt8
from scipy import ndimage

from histoseg.types import InstanceMap, SemanticMap

Contour = Int32[np.ndarray, "_ 2"]  # Vertices as x, y.


@dataclass(frozen=True, kw_only=True)
class Objects:
    """All objects of one map, a row each, in ascending order of their ids.

    Attributes:
        ids: What the map calls them.
        boxes: Top, left, bottom, right; the last two are the first row and column beyond.
        centroids: Mean of the pixels' positions, as x, y.
        areas: In pixels.
        classes: By vote of the pixels (see `vote_types`); 0 where there was none.
        probabilities: The share of an object's pixels that have its class; 0 where there was no vote.
        contours: Each outline as x, y through the centres of border pixels, corners only. An outline of fewer than
            three points, as an object one pixel wide has, is replaced by the corners of its box.
    """

    ids: Int32[np.ndarray, " N"]
    boxes: Int32[np.ndarray, "N 4"]
    centroids: Float64[np.ndarray, "N 2"]
    areas: Int64[np.ndarray, " N"]
    classes: UInt8[np.ndarray, " N"]
    probabilities: Float64[np.ndarray, " N"]
    contours: tuple[Contour, ...]

    def __len__(self) -> int:
        return len(self.ids)


def find_objects(instance_map: InstanceMap, type_map: SemanticMap | None = None, num_types: int = 1) -> Objects:
    """Every object of the map, as the published code's `get_inst_info_dict` finds them, save two departures.

    That code silently leaves out objects whose contour has fewer than three points, and in a map without background
    the first object; we keep both. Of an object in several pieces the contour is one piece's, as there. Without a
    `type_map`, the class of each pixel, no class is known.
    """
    ids, compact = _renumber(instance_map)
    classes, probabilities = np.zeros(len(ids), np.uint8), np.zeros(len(ids))
    if type_map is not None:
        classes, probabilities = _vote(compact, len(ids), type_map, num_types)
    slices = ndimage.find_objects(compact, len(ids)) if ids.size else []
    boxes = [(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in slices]
    areas, centroids, contours = np.zeros(len(ids), np.int64), np.zeros((len(ids), 2)), []
    for i, (top, left, bottom, right) in enumerate(boxes):
        mask = (compact[top:bottom, left:right] == i + 1).view(np.uint8)
        moments = cv2.moments(mask)
        areas[i] = moments["m00"]
        centroids[i] = moments["m10"] / areas[i] + left, moments["m01"] / areas[i] + top
        contours.append(_contour(mask, (top, left, bottom, right)))
    return Objects(
        ids=ids,
        boxes=np.array(boxes, np.int32).reshape(-1, 4),
        centroids=centroids,
        areas=areas,
        classes=classes,
        probabilities=probabilities,
        contours=tuple(contours),
    )


def _contour(mask: UInt8[np.ndarray, "H W"], box: tuple[int, int, int, int]) -> Contour:
    """The outline of one object's mask, moved to where its box is."""
    top, left, bottom, right = box
    found, _ = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top))
    contour = np.asarray(found[0], np.int32).reshape(-1, 2)
    if len(contour) >= 3:
        return contour
    return np.array([[left, top], [left, bottom], [right, bottom], [right, top]], np.int32)


def vote_types(
    instance_map: InstanceMap, type_map: SemanticMap, num_types: int
) -> tuple[UInt8[np.ndarray, " N"], Float64[np.ndarray, " N"]]:
    """The class of each object, in ascending order of ids, and the share of its pixels that have this class.

    The class is the most frequent one but 0, the background, which wins only where nothing else is; of equals, the
    lowest (published code, which adds 1e-6 to the area that it divides by; we do not).

    Raises:
        ValueError: If an id is negative, or a type is none of `num_types`.
    """
    ids, compact = _renumber(instance_map)
    return _vote(compact, len(ids), type_map, num_types)


def _vote(
    compact: InstanceMap, num_objects: int, type_map: SemanticMap, num_types: int
) -> tuple[UInt8[np.ndarray, " N"], Float64[np.ndarray, " N"]]:
    """The same for ids from 1 to `num_objects`, none missing."""
    if not 1 <= num_types <= 256:
        raise ValueError(f"num_types = {num_types}: must be within 1 and 256")
    if (largest := int(type_map.max(initial=0))) >= num_types:
        raise ValueError(f"type_map holds {largest}; types are 0 to {num_types - 1}")
    codes = compact.astype(np.int64)
    codes *= num_types
    codes += type_map
    votes = np.bincount(codes.ravel(), minlength=(num_objects + 1) * num_types).reshape(-1, num_types)[1:]
    others = votes.copy()
    others[:, 0] = 0
    classes = others.argmax(axis=1)
    winning = votes[np.arange(num_objects), classes]
    return classes.astype(np.uint8), winning / votes.sum(axis=1)


def renumber(instance_map: InstanceMap) -> InstanceMap:
    """A map of the same objects with ids from 1 on, none missing, in the same order."""
    return _renumber(instance_map)[1]


def _renumber(instance_map: InstanceMap) -> tuple[Int32[np.ndarray, " N"], InstanceMap]:
    """The old ids in ascending order, and the map with new ones.

    Ids are looked up once for each run of equal pixels; there are far fewer runs than pixels.
    """
    flat = instance_map.ravel()
    is_start = np.ones(flat.size, bool)
    np.not_equal(flat[1:], flat[:-1], out=is_start[1:])
    starts = np.flatnonzero(is_start)
    ids, of_run = np.unique(flat[starts], return_inverse=True)
    if ids.size and ids[0] < 0:
        raise ValueError(f"id {ids[0]} is negative; ids are positive, and 0 is background")
    if not (ids.size and ids[0] == 0):
        ids, of_run = np.concatenate([np.zeros(1, ids.dtype), ids]), of_run + 1
    compact = np.repeat(of_run.astype(np.int32), np.diff(starts, append=flat.size))
    return ids[1:], compact.reshape(instance_map.shape)
