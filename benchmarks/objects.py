"""Box, centroid and class of 2,000 nuclei in 1000 x 1000 pixels, and renumbering them: ours object by object.

    python benchmarks/objects.py

References are restated from the definition of what HoVer-Net and Cerberus publish: `get_inst_info_dict` looks for each
object in the whole map and sorts the classes of its pixels, `remap_label` writes each object into a new map.
"""

from collections.abc import Callable, Mapping
from functools import partial

import cv2
import numpy as np
from _timing import Finding, compare, interleaved, one_thread, print_times, table

from histoseg.maps.objects import Objects, find_objects, renumber, vote_types

SIDE_PX, NUM_ROWS, NUM_TYPES, NUM_ROUNDS = 1000, 45, 7, 5  # 45² are 2,025 nuclei.
GOAL, GOAL_RENUMBER = 12.0, 50.0

Found = dict[int, tuple[list[int], list[float], int, float]]


def draw_maps(rng: np.random.Generator, num_rows: int = NUM_ROWS) -> tuple[np.ndarray, np.ndarray]:
    """Nuclei on a jittered grid, with gaps in their ids, and types that are right in most of their pixels."""
    drawn, spacing = np.zeros((SIDE_PX, SIDE_PX), np.int32), SIDE_PX / num_rows
    for i in range(num_rows**2):
        centre = spacing * (np.array([i % num_rows, i // num_rows]) + 0.5) + rng.normal(0, 0.1 * spacing, 2)
        axes = spacing * rng.uniform(0.25, 0.45, 2)
        whole = [tuple(int(x) for x in values) for values in (centre, axes)]
        cv2.ellipse(drawn, whole[0], whole[1], float(rng.uniform(0, 180)), 0, 360, 3 * i + 1, -1)
    type_map = (drawn % (NUM_TYPES - 1) + 1) * (drawn > 0)
    noise = rng.integers(0, NUM_TYPES, drawn.shape)
    return drawn, np.where(rng.random(drawn.shape) < 0.3, noise, type_map).astype(np.uint8)


def by_object(instance_map: np.ndarray, type_map: np.ndarray) -> Found:
    """Box, centroid, class and its share of each object, by id."""
    found: Found = {}
    for label in np.unique(instance_map)[1:].tolist():
        mask = instance_map == label
        rows, columns = np.nonzero(mask)
        top, left, bottom, right = int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1
        crop = mask[top:bottom, left:right].astype(np.uint8)
        moments = cv2.moments(crop)
        centroid = [moments["m10"] / moments["m00"] + left, moments["m01"] / moments["m00"] + top]
        is_object = instance_map[top:bottom, left:right] == label
        types, counts = np.unique(type_map[top:bottom, left:right][is_object], return_counts=True)
        ranking = sorted(zip(types.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1])
        winner, votes = ranking[1] if ranking[0][0] == 0 and len(ranking) > 1 else ranking[0]
        found[label] = ([top, left, bottom, right], centroid, winner, votes / is_object.sum())
    return found


def renumber_by_object(instance_map: np.ndarray) -> np.ndarray:
    new = np.zeros_like(instance_map)
    for i, label in enumerate(np.unique(instance_map)[1:]):
        new[instance_map == label] = i + 1
    return new


def ours(instance_map: np.ndarray, type_map: np.ndarray) -> tuple[Objects, np.ndarray, np.ndarray]:
    return find_objects(instance_map), *vote_types(instance_map, type_map, NUM_TYPES)


def check_equality(ours: Objects, classes: np.ndarray, shares: np.ndarray, theirs: Found) -> None:
    """Stop unless every object is the same in everything."""
    assert ours.ids.tolist() == list(theirs)
    for i, (box, centroid, winner, share) in enumerate(theirs.values()):
        assert ours.boxes[i].tolist() == box
        assert ours.centroids[i].tolist() == centroid
        assert (classes[i], shares[i]) == (winner, share)


def run() -> list[Finding]:
    """Objects with their classes, then new numbers."""
    instance_map, type_map = draw_maps(np.random.default_rng(0))
    check_equality(*ours(instance_map, type_map), by_object(instance_map, type_map))
    np.testing.assert_array_equal(renumber(instance_map), renumber_by_object(instance_map))
    num_objects = len(np.unique(instance_map)) - 1
    found: dict[str, Callable[[], object]] = {
        "histoseg": partial(ours, instance_map, type_map),
        "object by object": partial(by_object, instance_map, type_map),
    }
    numbered = {
        "histoseg": partial(renumber, instance_map),
        "object by object": partial(renumber_by_object, instance_map),
    }
    return [
        *timed(f"box, centroid, class of {num_objects} nuclei, {SIDE_PX}²", found, GOAL),
        *timed(f"renumbering {num_objects} nuclei, {SIDE_PX}²", numbered, GOAL_RENUMBER),
    ]


def timed(part: str, calls: Mapping[str, Callable[[], object]], goal: float) -> list[Finding]:
    times = interleaved(calls, NUM_ROUNDS)
    print(f"\n{part}: identical")
    print_times(times)
    return compare(times, part, {"object by object": goal})


if __name__ == "__main__":
    one_thread()
    print(table(run()))
