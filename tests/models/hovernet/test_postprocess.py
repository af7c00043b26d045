"""Nuclei from maps: drawn ones are found again, by the published steps one after the other, wherever they lie."""

import cv2
import numpy as np
import pytest
from scipy import ndimage
from skimage.segmentation import watershed

from histoseg.maps.evidence import Evidence
from histoseg.maps.flooding import without_ties
from histoseg.metrics.panoptic import count_panoptic
from histoseg.models.hovernet.postprocess import HIGHEST, LOWEST, make_objects, steepness
from histoseg.models.hovernet.targets import distance_maps
from tests.models.drawn_nuclei import draw_nuclei


def evidence_of(instance_map, noise=0.0, seed=0):
    """What a network says that has learnt its targets, but for noise."""
    rng = np.random.default_rng(seed)
    maps = distance_maps(instance_map) + rng.normal(0, noise, (2, *instance_map.shape)).astype(np.float32)
    blurred = cv2.GaussianBlur((instance_map > 0).astype(np.float32), (0, 0), 1.0)
    mask = blurred + rng.normal(0, noise, blurred.shape) >= 0.5 if noise else instance_map > 0
    return Evidence(mask=mask, inner=steepness(maps.astype(np.float32)))


@pytest.mark.parametrize(("num_rows", "noise"), [(24, 0.0), (15, 0.0), (8, 0.0), (15, 0.1)])
def test_drawn_nuclei_are_found_again(num_rows, noise):
    """Nuclei of 11 to 41 pixels, most of which touch others; with noise, outlines differ by a pixel here and there."""
    drawn = draw_nuclei(num_rows, 300, num_rows)
    found = make_objects(evidence_of(drawn, noise))
    _, num_pieces = ndimage.label(drawn > 0)
    assert num_pieces < 0.8 * num_rows**2
    assert count_panoptic(drawn, found).pq >= (0.9 if noise else 0.95)


def by_the_published_steps(mask, maps):
    """Each step of the published code by scipy and scikit-image; slopes by our limits instead of the tile's own."""
    blob = without_small(ndimage.label(mask)[0], 10) > 0
    scale = 2.0 ** -(2 * 21 - 3)
    edges = []
    for which, order in ((0, (1, 0)), (1, (0, 1))):
        slope = cv2.Sobel(maps[which], cv2.CV_32F, *order, ksize=21, scale=scale)
        edges.append(1 - np.maximum((slope - np.float32(LOWEST)) / np.float32(HIGHEST - LOWEST), 0))
    overall = np.maximum(*edges) - ~blob
    overall[overall < 0] = 0
    heights = cv2.GaussianBlur((1.0 - overall) * blob, (3, 3), 0)
    marker = blob & ~(overall >= np.float32(0.4))
    marker = ndimage.binary_fill_holes(marker).astype(np.uint8)
    marker = cv2.morphologyEx(marker, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    marker = without_small(ndimage.label(marker)[0], 10)
    return watershed(-without_ties(heights, marker > 0), marker, mask=blob)


def without_small(labels, least):
    areas = np.bincount(labels.ravel())
    return np.where(areas[labels] < least, 0, labels)


@pytest.mark.parametrize("seed", range(4))
def test_nuclei_are_those_of_the_published_steps(seed):
    drawn = draw_nuclei(seed, 200, 12)
    rng = np.random.default_rng(seed)
    maps = (distance_maps(drawn) + rng.normal(0, 0.3, (2, 200, 200))).astype(np.float32)
    mask = (drawn > 0) ^ (rng.random(drawn.shape) < 0.02)
    wanted = by_the_published_steps(mask, maps)
    found = make_objects(Evidence(mask=mask, inner=steepness(maps)))
    assert found.max() > 60
    np.testing.assert_array_equal(found, np.unique(wanted, return_inverse=True)[1].reshape(wanted.shape))


def test_slopes_are_distances_per_pixel():
    """A ramp of 0.1 a pixel: (0.1 + 0.45) / 0.75; a map that does not change has a slope of 0, and so 0.6."""
    ramp = np.tile(np.arange(60, dtype=np.float32) / 10, (60, 1))
    middle = np.s_[15:45, 15:45]
    np.testing.assert_allclose(steepness(np.stack([ramp, ramp.T]))[middle], 0.55 / 0.75, rtol=1e-4)
    np.testing.assert_allclose(steepness(np.stack([ramp, ramp]))[middle], 0.6, rtol=1e-4)
    np.testing.assert_allclose(steepness(np.stack([-9 * ramp, ramp.T]))[middle], 0)


def test_a_nucleus_does_not_depend_on_what_else_is_shown():
    """As a slide that is divided has the nuclei of the slide as a whole; slopes look ten pixels far."""
    drawn = draw_nuclei(1, 200, 9)
    whole = make_objects(evidence_of(drawn))
    alone = np.zeros_like(drawn)
    alone[:100, :100] = drawn[:100, :100]
    part = make_objects(Evidence(mask=alone > 0, inner=steepness(distance_maps(drawn))))
    inside = np.unique(drawn[:100, :100])
    complete = [n for n in inside if n and (drawn == n).sum() == (alone == n).sum()]
    for number in complete[:20]:
        pixels = np.argwhere(drawn == number)[len(np.argwhere(drawn == number)) // 2]
        before, after = (found == found[tuple(pixels)] for found in (whole, part))
        if not (before & (alone == 0)).any():
            np.testing.assert_array_equal(before, after)


def test_without_pixels_or_slopes():
    assert make_objects(Evidence(mask=np.zeros((0, 4), bool), inner=np.zeros((0, 4), np.float32))).shape == (0, 4)
    with pytest.raises(ValueError, match="needs the steepness"):
        make_objects(Evidence(mask=np.ones((4, 4), bool)))
