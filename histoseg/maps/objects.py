"""The objects of an instance map: where each lies, and the class that most of its pixels have."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, Shaped, UInt8
from scipy import ndimage

from histoseg.types import IGNORE, InstanceMap, SemanticMap


@dataclass(frozen=True, kw_only=True)
class Objects:
    """All objects of one map, a row each, in ascending order of their ids."""

    ids: Int32[np.ndarray, " N"]  # What the map calls them
    boxes: Int32[np.ndarray, "N 4"]  # Top, left, bottom, right; the last two are the first row and column beyond
    centroids: Float64[np.ndarray, "N 2"]  # Mean of the pixels' positions, as x, y
    areas: Int64[np.ndarray, " N"]  # In pixels


def find_objects(instance_map: InstanceMap) -> Objects:
    """Every object of the map, also one of a single pixel, which the published code leaves out."""
    ids, compact = compact_ids(instance_map)
    slices = ndimage.find_objects(compact, len(ids)) if ids.size else []
    boxes = [(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in slices]
    areas, centroids = np.zeros(len(ids), np.int64), np.zeros((len(ids), 2))
    for i, (top, left, bottom, right) in enumerate(boxes):
        moments = cv2.moments((compact[top:bottom, left:right] == i + 1).view(np.uint8))
        areas[i] = moments["m00"]
        centroids[i] = moments["m10"] / areas[i] + left, moments["m01"] / areas[i] + top
    return Objects(ids=ids, boxes=np.array(boxes, np.int32).reshape(-1, 4), centroids=centroids, areas=areas)


def is_known(
    semantic_map: Shaped[np.ndarray, "H W"], instance_map: Shaped[np.ndarray, "H W"]
) -> Bool[np.ndarray, "H W"]:
    """Where it is known whether there is an object: labelled pixels, and those of objects whose class is not known."""
    known: np.ndarray = (semantic_map != IGNORE) | (instance_map > 0)
    return known


def vote_types(
    instance_map: InstanceMap, type_map: SemanticMap, num_types: int
) -> tuple[UInt8[np.ndarray, " N"], Float64[np.ndarray, " N"]]:
    """The class of each object, in ascending order of ids, and the share of its pixels that have this class.

    The class is the most frequent one but 0, the background, which wins only where nothing else is; of equals, the
    lowest (published code, which adds 1e-6 to the area that it divides by; we do not).

    Raises:
        ValueError: If an id is negative, or a type is none of `num_types`.
    """
    if not 1 <= num_types <= 256:
        raise ValueError(f"num_types = {num_types}: must be within 1 and 256")
    if (largest := int(type_map.max(initial=0))) >= num_types:
        raise ValueError(f"type_map holds {largest}; types are 0 to {num_types - 1}")
    ids, compact = compact_ids(instance_map)
    codes = compact.astype(np.int64)
    codes *= num_types
    codes += type_map
    votes = np.bincount(codes.ravel(), minlength=(len(ids) + 1) * num_types).reshape(-1, num_types)[1:]
    others = votes.copy()
    others[:, 0] = 0
    classes = others.argmax(axis=1)
    winning = votes[np.arange(len(ids)), classes]
    return classes.astype(np.uint8), winning / votes.sum(axis=1)


def typed_objects(
    instance_map: InstanceMap, type_map: SemanticMap, num_types: int
) -> tuple[InstanceMap, UInt8[np.ndarray, " N"]]:
    """The objects whose class is known, and the class of each from 1 on, in ascending order of ids."""
    is_known = type_map != IGNORE
    known = instance_map * is_known
    classes, _ = vote_types(known, type_map * is_known, num_types)
    chosen = compact_ids(known)[0][classes > 0]
    return np.where(np.isin(instance_map, chosen), instance_map, 0).astype(np.int32), classes[classes > 0]


def within(instance_map: InstanceMap, outer_map: InstanceMap) -> InstanceMap:
    """The parts of objects that lie inside objects of another map, renumbered."""
    return renumber(np.where(outer_map > 0, instance_map, 0).astype(np.int32))


def renumber(instance_map: InstanceMap) -> InstanceMap:
    """A map of the same objects with ids from 1 on, none missing, in the same order."""
    return compact_ids(instance_map)[1]


def number_pieces(instance_map: InstanceMap) -> InstanceMap:
    """A map in which each connected piece of one id is an object, from 1 on; pixels that touch by a corner connect."""
    pieces: InstanceMap = np.zeros(instance_map.shape, np.int32)
    count = 0
    for box, mask, labels, found in _pieces(instance_map):
        pieces[box][mask] = labels[mask] + count
        count += found
    return pieces


def count_pieces(instance_map: InstanceMap) -> Int64[np.ndarray, " N"]:
    """How many pieces each object has, as `number_pieces` numbers them, in ascending order of ids."""
    return np.array([found for *_, found in _pieces(instance_map)], np.int64)


def _pieces(instance_map: InstanceMap) -> Iterator[tuple[tuple[slice, slice], np.ndarray, np.ndarray, int]]:
    """Each object's box, its pixels there, the labels of its pieces and their number."""
    ids, compact = compact_ids(instance_map)
    for number, box in enumerate(ndimage.find_objects(compact, len(ids)) if ids.size else [], start=1):
        mask = compact[box] == number
        found, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
        yield box, mask, labels, found - 1


def compact_ids(instance_map: InstanceMap) -> tuple[Int32[np.ndarray, " N"], InstanceMap]:
    """The ids in ascending order, and a map of the same objects with ids from 1 on.

    Ids are looked up once for each run of equal pixels; there are far fewer runs than pixels.
    """
    flat = instance_map.ravel()
    is_start = np.ones(flat.size, bool)
    np.not_equal(flat[1:], flat[:-1], out=is_start[1:])
    starts = np.flatnonzero(is_start)
    ids, of_run = _number(flat[starts], flat.size)
    compact = np.repeat(of_run, np.diff(starts, append=flat.size))
    return ids, compact.reshape(instance_map.shape)


def _number(found: Int32[np.ndarray, " R"], size: int) -> tuple[Int32[np.ndarray, " N"], Int32[np.ndarray, " R"]]:
    """The ids but 0, ascending, and the place from 1 on of each found among them; `size` is that of the map."""
    if (lowest := int(found.min(initial=0))) < 0:
        raise ValueError(f"id {lowest} is negative; ids are positive, and 0 is background")
    largest = int(found.max(initial=0))
    if largest > size:  # A table of all ids would be larger than the map, so they are sorted.
        ids = np.unique(found)
        ids = ids[ids > 0]
        return ids, np.searchsorted(ids, found, side="right").astype(np.int32)
    is_there = np.zeros(largest + 1, bool)
    is_there[found] = True
    is_there[0] = False
    return np.flatnonzero(is_there).astype(found.dtype), np.cumsum(is_there, dtype=np.int32)[found]
