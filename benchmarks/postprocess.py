"""Objects from probabilities: ours against the published post-processing of Cerberus, restated from its definition.

    python benchmarks/postprocess.py

Glands, 2000 x 2000 pixels: the reference looks for each gland in the whole map, as published, then dilates it and fills
its holes, in a box around it (as published) or in the whole map. Glands keep away from the border, where the published
boxes have no margin and glands do not grow. Nuclei, 1000 x 1000 pixels: components by scipy, small ones removed by
scikit-image, then its watershed, which ours also uses. All labels must be equal.
"""

from functools import partial

import cv2
import numpy as np
from _timing import Finding, compare, interleaved, one_thread, print_times, table
from scipy import ndimage
from skimage.morphology import remove_small_objects
from skimage.segmentation import watershed

from histoseg.models.cerberus.postprocess import separate
from histoseg.models.cerberus.targets import instance_target

GLANDS_PX, NUM_GLAND_ROWS, NUM_GLAND_ROUNDS, GLAND_GOAL = 2000, 13, 3, 10.0
NUCLEI_PX, NUM_NUCLEI_ROWS, NUM_NUCLEI_ROUNDS, NUCLEI_GOAL = 1000, 45, 9, 1.5
MARGIN_PX = 30


def draw_map(rng: np.random.Generator, size_px: int, num_rows: int, hole: float) -> np.ndarray:
    """Ellipses on a jittered grid, with a hole of that share of their size."""
    drawn, spacing = np.zeros((size_px, size_px), np.int32), (size_px - 2 * MARGIN_PX) / num_rows
    for i in range(num_rows**2):
        centre = spacing * (np.array([i % num_rows, i // num_rows]) + 0.5) + rng.normal(0, 0.03 * spacing, 2)
        axes, angle = spacing * rng.uniform(0.3, 0.45, 2), float(rng.uniform(0, 180))
        at = tuple(int(x) for x in centre + MARGIN_PX)
        for share, label in ((1.0, i + 1), (hole, 0)):
            if share:
                cv2.ellipse(drawn, at, tuple(int(x) for x in share * axes), angle, 0, 360, label, -1)
    return drawn


def predict(instance_map: np.ndarray, structure: str, rng: np.random.Generator) -> np.ndarray:
    """Probabilities as a decoder would give them: the target, blurred and with noise."""
    classes = instance_target(instance_map, structure, contour=True).classes
    logits = [cv2.GaussianBlur((classes == i).astype(np.float32), (0, 0), 1.0) * 8 for i in range(3)]
    odds = np.exp(np.stack(logits) + rng.normal(0, 0.3, (3, *classes.shape)))
    return np.asarray(odds / odds.sum(axis=0), np.float32)


def without_small(mask: np.ndarray, min_px: int) -> np.ndarray:
    """As published: labelled first, then components of fewer pixels removed."""
    return np.asarray(remove_small_objects(ndimage.label(mask)[0], max_size=min_px - 1) > 0)


def glands(probabilities: np.ndarray, in_box: bool) -> np.ndarray:
    inner = (probabilities[1] - (probabilities[2] > 0.5)) > 0.55
    labels, count = ndimage.label(without_small(inner, 1000))
    element, grown = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (10, 10)), np.zeros(labels.shape)
    for label in range(1, count + 1):
        mask = (labels == label).astype(np.uint8)
        rows, columns = np.nonzero(mask)
        box = (
            np.s_[rows.min() - 20 : rows.max() + 21, columns.min() - 20 : columns.max() + 21] if in_box else np.s_[:, :]
        )
        grown[box][ndimage.binary_fill_holes(cv2.dilate(mask[box], element))] = label
    return grown


def nuclei(probabilities: np.ndarray) -> np.ndarray:
    inner, contour = probabilities[1], probabilities[2]
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    is_nucleus = without_small(cv2.erode((inner + contour > 0.5).astype(np.uint8), element) > 0, 8)
    seeds = ndimage.binary_fill_holes(without_small(inner > 0.5, 4))
    labels = watershed(-inner, ndimage.label(seeds)[0], mask=is_nucleus)  # type: ignore[no-untyped-call]  # it has no types
    return np.asarray(labels)


def check_equality(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Stop unless labels are equal, once gaps in the reference's are closed."""
    np.testing.assert_array_equal(ours, np.unique(theirs, return_inverse=True)[1].reshape(theirs.shape))


def run() -> list[Finding]:
    """Glands, then nuclei."""
    rng = np.random.default_rng(0)
    gland = predict(draw_map(rng, GLANDS_PX, NUM_GLAND_ROWS, hole=0.4), "gland", rng)
    nucleus = predict(draw_map(rng, NUCLEI_PX, NUM_NUCLEI_ROWS, hole=0.0), "nuclei", rng)
    gland_calls = {
        "histoseg": partial(separate, gland, "gland", contour=True),
        "published: whole map, then a box": partial(glands, gland, in_box=True),
        "whole map": partial(glands, gland, in_box=False),
    }
    nuclei_calls = {
        "histoseg": partial(separate, nucleus, "nuclei", contour=True),
        "scipy and scikit-image": partial(nuclei, nucleus),
    }
    goals = {"published: whole map, then a box": GLAND_GOAL, "scipy and scikit-image": NUCLEI_GOAL}
    findings = []
    for name, size_px, calls, rounds in (
        ("glands", GLANDS_PX, gland_calls, NUM_GLAND_ROUNDS),
        ("nuclei", NUCLEI_PX, nuclei_calls, NUM_NUCLEI_ROUNDS),
    ):
        found = calls["histoseg"]()
        for call in calls.values():
            check_equality(found, call())
        part = f"{found.max()} {name} from probabilities, {size_px}²"
        times = interleaved(calls, rounds)
        print(f"\n{part}: labels equal")
        print_times(times)
        findings += compare(times, part, goals)
    return findings


if __name__ == "__main__":
    one_thread()
    print(table(run()))
