"""Panoptic quality and AJI of 1000 x 1000 pixels with about 1,000 nuclei: ours against HoVer-Net's metrics.

    python benchmarks/panoptic.py [--nuclei 1000] [--rounds 3]

Those are restated from their definition: a mask for each object; for each true object the ids that it overlaps, and
with each of these intersection and union of the two masks. They add 1e-6 to denominators, which is left out here, as it
is in ours. The reference takes seconds, so rounds are few.
"""

import argparse
from functools import partial

import cv2
import numpy as np
from _timing import Finding, compare, interleaved, one_thread, print_times, table

from histoseg.metrics.panoptic import aji, count_panoptic

SIDE_PX, NUM_NUCLEI, NUM_ROUNDS = 1000, 1000, 3
GOAL = 200.0


def draw_maps(rng: np.random.Generator, num_nuclei: int) -> tuple[np.ndarray, np.ndarray]:
    """Nuclei as ellipses on a jittered grid; predicted ones are moved and resized, some missed, some made up."""
    true, pred = (np.zeros((SIDE_PX, SIDE_PX), np.int32) for _ in range(2))
    spacing = SIDE_PX / num_nuclei**0.5
    radius = 0.35 * spacing
    grid = np.arange(spacing / 2, SIDE_PX, spacing)
    for y in grid:
        for x in grid:
            centre, angle = np.array([x, y]) + rng.normal(0, 0.1 * spacing, 2), float(rng.uniform(0, 180))
            axes = radius * rng.uniform(0.8, 1.3, 2)
            if rng.random() < 0.95:
                draw_ellipse(true, centre, axes, angle)
            if rng.random() < 0.95:
                moved = centre + rng.normal(0, 0.15 * radius, 2)
                draw_ellipse(pred, moved, axes * rng.uniform(0.8, 1.2), angle)
    return true, pred


def draw_ellipse(instance_map: np.ndarray, centre: np.ndarray, axes: np.ndarray, angle: float) -> None:
    whole = [tuple(int(x) for x in np.round(values)) for values in (centre, axes)]
    cv2.ellipse(instance_map, whole[0], whole[1], angle, 0, 360, int(instance_map.max()) + 1, -1)


def pairwise(true: np.ndarray, pred: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Intersection and union of every pair that meets, and the areas of both maps' objects."""
    true_masks, pred_masks = (
        [(instance_map == label).astype(np.uint8) for label in np.unique(instance_map)[1:]]
        for instance_map in (true, pred)
    )
    pred_ids = np.unique(pred)[1:]
    shared, union = np.zeros((2, len(true_masks), len(pred_masks)))
    for i, true_mask in enumerate(true_masks):
        for met in np.unique(pred[true_mask > 0]):
            if met > 0:
                j = int(np.searchsorted(pred_ids, met))
                total = int((true_mask + pred_masks[j]).sum())
                shared[i, j] = (true_mask * pred_masks[j]).sum()
                union[i, j] = total - shared[i, j]
    true_areas, pred_areas = (np.array([mask.sum() for mask in masks], float) for masks in (true_masks, pred_masks))
    return shared, union, true_areas, pred_areas


def pq_by_masks(true: np.ndarray, pred: np.ndarray) -> tuple[float, float, float]:
    """Detection, segmentation and panoptic quality."""
    shared, union, true_areas, pred_areas = pairwise(true, pred)
    ious = shared / np.maximum(union, 1)
    matched = ious[ious > 0.5]
    num_missed, num_false = len(true_areas) - len(matched), len(pred_areas) - len(matched)
    dq = len(matched) / (len(matched) + 0.5 * num_false + 0.5 * num_missed)
    sq = matched.sum() / len(matched)
    return dq, sq, dq * sq


def aji_by_masks(true: np.ndarray, pred: np.ndarray) -> float:
    """Each true object with the predicted one of highest IoU; what is in no pair goes to the denominator."""
    shared, union, true_areas, pred_areas = pairwise(true, pred)
    ious = shared / np.maximum(union, 1)
    paired_true = np.flatnonzero(ious.max(axis=1) > 0)
    paired_pred = ious.argmax(axis=1)[paired_true]
    left_out = np.delete(true_areas, paired_true).sum() + np.delete(pred_areas, paired_pred).sum()
    return float(shared[paired_true, paired_pred].sum() / (union[paired_true, paired_pred].sum() + left_out))


def pq_by_runs(true: np.ndarray, pred: np.ndarray) -> tuple[float, float, float]:
    counts = count_panoptic(true, pred)
    return counts.dq, counts.sq, counts.pq


def run(num_nuclei: int = NUM_NUCLEI, rounds: int = NUM_ROUNDS) -> list[Finding]:
    """Equal scores to 1e-9, then time."""
    maps = draw_maps(np.random.default_rng(0), num_nuclei)
    findings = []
    for name, ours, theirs in (("PQ", pq_by_runs, pq_by_masks), ("AJI", aji, aji_by_masks)):
        part = f"{name}, {SIDE_PX}², {maps[0].max()} nuclei"
        np.testing.assert_allclose(ours(*maps), theirs(*maps), rtol=0, atol=1e-9)
        times = interleaved({"histoseg": partial(ours, *maps), "pairs of masks": partial(theirs, *maps)}, rounds)
        print(f"\n{part}: equal, {ours(*maps)}")
        print_times(times)
        findings += compare(times, part, {"pairs of masks": GOAL})
    return findings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nuclei", type=int, default=NUM_NUCLEI)
    parser.add_argument("--rounds", type=int, default=NUM_ROUNDS)
    options = parser.parse_args()
    print(table(run(options.nuclei, options.rounds)))


if __name__ == "__main__":
    one_thread()
    main()
