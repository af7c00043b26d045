"""HoVer-Net: its post-processing and targets against the published ones, and the network beside Cerberus.

    python benchmarks/hovernet.py

Post-processing, 1000 x 1000 pixels: the published steps by scipy and scikit-image, one after the other, restated from
their definition; slopes are scaled by our limits instead of the map's own, as `postprocess.py` explains. All labels
must be equal. Targets, one patch of 448 pixels: distances nucleus by nucleus, each sought in the whole patch, as
published; both must be equal but for rounding.

A training step and the prediction of an image beside Cerberus, both of width 16 and for nuclei with their classes: the
ratio says how many times as long HoVer-Net takes. Cerberus learns classes in a stage of its own, so its step is that of
nuclei alone; what it predicts has both.
"""

from functools import partial

import cv2
import numpy as np
import torch
from _timing import Finding, compare, interleaved, one_thread, print_times, table
from scipy import ndimage
from skimage.segmentation import watershed

from histoseg.maps.evidence import Evidence
from histoseg.maps.flooding import without_ties
from histoseg.maps.windows import MarginWindows
from histoseg.methods.multitask import MultiTask
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.cerberus.network import CerberusParts
from histoseg.models.cerberus.network import build as build_cerberus
from histoseg.models.hovernet import HoVerNetSpec
from histoseg.models.hovernet.network import HoVerNetParts
from histoseg.models.hovernet.network import build as build_hovernet
from histoseg.models.hovernet.postprocess import HIGHEST, LOWEST, make_objects, steepness
from histoseg.models.hovernet.targets import distance_maps
from histoseg.types import MixedBatch

MAP_PX, NUM_ROWS, NUM_ROUNDS, MAP_GOAL = 1000, 45, 7, 3.0
PATCH_PX, PATCH_ROWS, PATCH_GOAL = 448, 20, 3.0
WIDTH, BATCH, SIDE_PX, IMAGE_PX, NUM_TYPES = 16, 2, 256, 400, 7


def draw_map(rng: np.random.Generator, size_px: int, num_rows: int) -> np.ndarray:
    """Ellipses on a jittered grid, many of which touch."""
    drawn, spacing = np.zeros((size_px, size_px), np.int32), size_px / num_rows
    for i in range(num_rows**2):
        centre = spacing * (np.array([i % num_rows, i // num_rows]) + 0.5) + rng.normal(0, 0.05 * spacing, 2)
        axes, angle = spacing * rng.uniform(0.35, 0.5, 2), float(rng.uniform(0, 180))
        cv2.ellipse(drawn, tuple(int(x) for x in centre), tuple(int(x) for x in axes), angle, 0, 360, i + 1, -1)
    return drawn


def without_small(labels: np.ndarray, min_px: int) -> np.ndarray:
    return np.asarray(np.where(np.bincount(labels.ravel())[labels] < min_px, 0, labels))


def published_objects(probability: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """The published steps in their order."""
    blob = without_small(ndimage.label(probability >= 0.5)[0], 10) > 0
    scale, edges = 2.0**-39, []
    for distances, order in ((maps[0], (1, 0)), (maps[1], (0, 1))):
        slope = cv2.Sobel(distances, cv2.CV_32F, *order, ksize=21, scale=scale)
        edges.append(1 - np.maximum((slope - np.float32(LOWEST)) / np.float32(HIGHEST - LOWEST), 0))
    overall = np.maximum(*edges) - ~blob
    overall[overall < 0] = 0
    heights = cv2.GaussianBlur((1.0 - overall) * blob, (3, 3), 0)
    marker = blob & ~(overall >= np.float32(0.4))
    marker = ndimage.binary_fill_holes(marker).astype(np.uint8)
    marker = cv2.morphologyEx(marker, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    marker = without_small(ndimage.label(marker)[0], 10)
    return np.asarray(watershed(-without_ties(heights, marker > 0), marker, mask=blob))  # type: ignore[no-untyped-call]  # it has no types


def our_objects(probability: np.ndarray, maps: np.ndarray) -> np.ndarray:
    return make_objects(Evidence(mask=probability >= 0.5, inner=steepness(maps)))


def distances_one_by_one(instance_map: np.ndarray) -> np.ndarray:
    """Each nucleus in turn: its mask in the whole patch, its centre of mass, and its pixels' distances from that."""
    found = np.zeros((2, *instance_map.shape), np.float32)
    for number in np.unique(instance_map)[1:]:
        mask = instance_map == number
        for which, places in enumerate(np.nonzero(mask)[::-1]):
            distances = places - places.mean()
            for is_side in (distances < 0, distances > 0):
                if is_side.any():
                    distances[is_side] /= abs(distances[is_side]).max()
            found[which][mask] = distances
    return found


def compare_maps(rng: np.random.Generator) -> list[Finding]:
    """Post-processing, then targets."""
    drawn = draw_map(rng, MAP_PX, NUM_ROWS)
    maps = (distance_maps(drawn) + rng.normal(0, 0.1, (2, MAP_PX, MAP_PX))).astype(np.float32)
    blurred = cv2.GaussianBlur((drawn > 0).astype(np.float32), (0, 0), 1.0)
    probability = blurred + np.asarray(rng.normal(0, 0.05, blurred.shape), np.float32)
    found, theirs = our_objects(probability, maps), published_objects(probability, maps)
    np.testing.assert_array_equal(found, np.unique(theirs, return_inverse=True)[1].reshape(theirs.shape))
    reference = "published steps by scipy and scikit-image"
    part = f"HoVer-Net, {found.max()} nuclei from its maps, {MAP_PX}²"
    calls = {"histoseg": partial(our_objects, probability, maps)}
    times = interleaved({**calls, reference: partial(published_objects, probability, maps)}, NUM_ROUNDS)
    print(f"\n{part}: labels equal")
    print_times(times)
    findings = compare(times, part, {reference: MAP_GOAL})
    patch = draw_map(rng, PATCH_PX, PATCH_ROWS)
    np.testing.assert_allclose(distance_maps(patch), distances_one_by_one(patch), atol=1e-5)
    part, reference = f"HoVer-Net, distances of {PATCH_ROWS**2} nuclei, {PATCH_PX}²", "nucleus by nucleus"
    times = interleaved(
        {"histoseg": partial(distance_maps, patch), reference: partial(distances_one_by_one, patch)}, NUM_ROUNDS
    )
    print(f"\n{part}: equal")
    print_times(times)
    return [*findings, *compare(times, part, {reference: PATCH_GOAL})]


def draw_batch(rng: np.random.Generator, side_px: int, num_maps: int) -> MixedBatch:
    """Random patches, whose targets have that side."""
    types = rng.integers(0, NUM_TYPES, (BATCH, side_px, side_px), dtype=np.uint8)
    return MixedBatch(
        images=rng.integers(0, 256, (BATCH, SIDE_PX, SIDE_PX, 3), dtype=np.uint8),
        classes=(types > 0).astype(np.uint8),
        weights=np.ones(types.shape, np.float32),
        types=types,
        maps=rng.uniform(-1, 1, (BATCH, num_maps, side_px, side_px)).astype(np.float32),
        structures=("nuclei",) * BATCH,
        keys=("",) * BATCH,
        seeds=tuple(range(BATCH)),
        counts={"nuclei": BATCH},
    )


def compare_networks(rng: np.random.Generator) -> list[Finding]:
    """A step, then an image, of both networks; what they learn is random, as its content changes no time."""
    cerberus = build_cerberus(CerberusParts(width=WIDTH, decoders={"nuclei": 2, "nuclei_type": NUM_TYPES}), 0)
    hovernet = build_hovernet(HoVerNetParts(width=WIDTH, num_types=NUM_TYPES), 0)
    method = MultiTask(batch=BATCH)
    batches = {cerberus: draw_batch(rng, SIDE_PX, 0), hovernet: draw_batch(rng, 164, 2)}

    def step(network: torch.nn.Module) -> None:
        network.zero_grad(set_to_none=True)
        method.backward(network, batches[network])  # type: ignore[arg-type, index]  # both are such networks

    findings = []
    part = f"Cerberus of nuclei, a step of {BATCH} patches of {SIDE_PX}², width {WIDTH}"
    times = interleaved({"histoseg": partial(step, cerberus), "HoVer-Net": partial(step, hovernet)}, NUM_ROUNDS)
    print(f"\n{part}")
    print_times(times)
    findings += compare(times, part, {})
    image = rng.integers(0, 256, (IMAGE_PX, IMAGE_PX, 3), dtype=np.uint8)
    windows = MarginWindows(window_px=512, margin_px=56)
    calls = {
        "histoseg": partial(CerberusSpec(width=WIDTH).predict, cerberus.eval(), image, windows),
        "HoVer-Net": partial(HoVerNetSpec(width=WIDTH).predict, hovernet.eval(), image, windows),
    }
    times = interleaved(calls, NUM_ROUNDS)
    part = f"Cerberus of nuclei and classes, an image of {IMAGE_PX}² predicted, width {WIDTH}"
    print(f"\n{part}")
    print_times(times)
    return [*findings, *compare(times, part, {})]


def run() -> list[Finding]:
    """Maps, then networks."""
    rng = np.random.default_rng(0)
    return [*compare_maps(rng), *compare_networks(rng)]


if __name__ == "__main__":
    one_thread()
    print(table(run()))
