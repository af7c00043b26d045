"""What a decoder learns from a patch of 448 x 448 pixels: ours against working object by object.

    python benchmarks/targets.py

The reference is restated from the definition: of each object a mask of the whole patch, eroded and dilated; of each
eroded object the distances within its box and ten pixels around it, in a stack of maps of which the two lowest count.
"""

from collections.abc import Callable, Mapping
from functools import partial

import cv2
import numpy as np
from _timing import Finding, compare, interleaved, one_thread, print_times, table
from scipy import ndimage

from histoseg.models.cerberus.targets import instance_target
from histoseg.structures import structure_of_objects

SIDE_PX, NUM_ROUNDS = 448, 9
GOAL = 5.0


def draw_map(rng: np.random.Generator, num_rows: int) -> np.ndarray:
    """Ellipses on a jittered grid, so that some touch."""
    drawn = np.zeros((SIDE_PX, SIDE_PX), np.int32)
    spacing = SIDE_PX / num_rows
    for i in range(num_rows**2):
        centre = spacing * (np.array([i % num_rows, i // num_rows]) + 0.5) + rng.normal(0, 0.1 * spacing, 2)
        axes = spacing * rng.uniform(0.3, 0.5, 2)
        whole = [tuple(int(x) for x in values) for values in (centre, axes)]
        cv2.ellipse(drawn, whole[0], whole[1], float(rng.uniform(0, 180)), 0, 360, i + 1, -1)
    return drawn


def by_object(instance_map: np.ndarray, element_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes with contours, and weights."""
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (element_px, element_px))
    inner, contour = np.zeros((2, *instance_map.shape), np.uint8)
    for label in np.unique(instance_map)[1:]:
        mask = (instance_map == label).astype(np.uint8)
        eroded = cv2.erode(mask, element)
        inner |= eroded
        contour |= cv2.dilate(mask, element) - eroded
    return inner + 2 * contour, weights_by_object(inner, element_px)


def weights_by_object(inner: np.ndarray, element_px: int) -> np.ndarray:
    labels, count = ndimage.label(inner)
    distances = np.full((*inner.shape, count), 1000, np.float32)
    for i in range(count):
        mask = labels == i + 1
        rows, columns = np.nonzero(mask)
        top, left = max(rows.min() - 10, 0), max(columns.min() - 10, 0)
        box = np.s_[top : rows.max() + 11, left : columns.max() + 11]
        distances[..., i][box] = ndimage.distance_transform_edt(~mask[box])
    lowest = np.partition(distances, 1, axis=-1)[..., :2].sum(axis=-1)
    return 1 + np.where(inner, 0, 10 * np.exp(-((lowest / element_px) ** 2) / 2))


def ours(instance_map: np.ndarray, structure: str) -> tuple[np.ndarray, np.ndarray]:
    target = instance_target(instance_map, structure, contour=True)
    return target.classes, target.weights


def run() -> list[Finding]:
    """Many nuclei and few glands."""
    rng, findings = np.random.default_rng(0), []
    structures: tuple[tuple[str, int], ...] = (("nuclei", 16), ("gland", 3))
    for structure, num_rows in structures:
        instance_map = draw_map(rng, num_rows)
        part = f"target of {len(np.unique(instance_map)) - 1} objects ({structure}), {SIDE_PX}²"
        calls = {
            "histoseg": partial(ours, instance_map, structure),
            "object by object": partial(by_object, instance_map, structure_of_objects(structure).separation.element_px),
        }
        (classes, weights), (true_classes, true_weights) = (call() for call in calls.values())
        np.testing.assert_array_equal(classes, true_classes)
        np.testing.assert_allclose(weights, true_weights, rtol=1e-5)
        findings += timed(part, calls)
    return findings


def timed(part: str, calls: Mapping[str, Callable[[], object]]) -> list[Finding]:
    times = interleaved(calls, NUM_ROUNDS)
    print(f"\n{part}: equal")
    print_times(times)
    return compare(times, part, {"object by object": GOAL})


if __name__ == "__main__":
    one_thread()
    print(table(run()))
