"""Objects of opened masks: against scipy, on drawn objects, and region by region."""

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage

from histoseg.engines import Execution, require_eager
from histoseg.errors import ConfigError, DataError
from histoseg.maps.windows import MarginWindows, OverlapWindows
from histoseg.models.mildnet import MildNetSpec
from histoseg.models.opened_regions import OpenedRegions
from histoseg.models.opening import Opening, open_objects
from histoseg.models.whole_image import predict_objects
from histoseg.structures import Growth
from tests.slides.fields import draw_evidence, find_whole, list_pixels
from tests.slides.test_stitch import find_by_region

CPU = torch.device("cpu")
OPENINGS = {
    "gland": Opening(element_px=5, growth=Growth(min_px=40, element_px=5)),
    "lumen": Opening(element_px=3, growth=Growth(min_px=9, element_px=3)),
}


def ellipse(size_px):
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size_px, size_px)).astype(bool)


def by_definition(mask, opening):
    """The same step by step, by scipy: fill, open, drop small pieces, dilate and fill each."""
    opened = ndimage.binary_opening(
        ndimage.binary_fill_holes(mask, ndimage.generate_binary_structure(2, 1)), ellipse(opening.element_px)
    )
    labels, _ = ndimage.label(opened)
    found = np.zeros(mask.shape, np.int32)
    for label in range(1, labels.max() + 1):
        piece = labels == label
        if piece.sum() >= opening.growth.min_px:
            grown = ndimage.binary_dilation(piece, ellipse(opening.growth.element_px))
            found[ndimage.binary_fill_holes(grown)] = label
    return found


def partition(labels):
    """Objects as sets of pixels, whatever their ids."""
    return {tuple(np.flatnonzero(labels == label)) for label in np.unique(labels[labels > 0])}


@pytest.mark.parametrize("seed", range(5))
def test_objects_are_those_of_scipy_step_by_step(seed):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(90, 120)), 3)
    mask = noise > np.quantile(noise, 0.6)
    for opening in OPENINGS.values():
        found = open_objects(mask, opening)
        assert partition(found) == partition(by_definition(mask, opening))
        assert sorted(np.unique(found)) == list(range(found.max() + 1))


def test_a_bridge_narrower_than_the_element_parts_two_objects():
    """By hand: two squares of 11 pixels with a bridge of 2 between them; opening by 5 removes it."""
    mask = np.zeros((31, 41), bool)
    mask[10:21, 5:16] = mask[10:21, 25:36] = mask[15:17, 16:25] = True
    growth = Growth(min_px=50, element_px=3)
    assert open_objects(mask, Opening(element_px=1, growth=growth)).max() == 1
    assert open_objects(mask, Opening(element_px=5, growth=growth)).max() == 2


def test_an_empty_mask_has_no_objects():
    for size in ((0, 5), (4, 4)):
        assert not open_objects(np.zeros(size, bool), OPENINGS["gland"]).any()


def regions_of(chosen=(), inside=None):
    """A network that sees in the red what is inside of glands, in the green what is inside of lumina."""

    def see(images, names):
        return {name: images[..., list(OPENINGS).index(name)].float() / 255 for name in names}

    return OpenedRegions(inside=inside or see, openings=OPENINGS, unit_px=8, chosen=chosen, device=CPU)


@pytest.mark.parametrize("seed", range(3))
def test_regions_that_are_stitched_have_the_objects_of_the_whole(seed):
    rng = np.random.default_rng(seed)
    size_px = tuple(int(side) for side in rng.integers(150, 400, 2))
    evidence = draw_evidence(rng, size_px, grains=(9, 5, 2), contour=False)
    evidence.objects.pop("nuclei")
    rules = regions_of()
    found, num_stitched = find_by_region(evidence, rules, size_px, 96)
    assert num_stitched > 0
    assert list_pixels(found) == list_pixels(find_whole(evidence, rules))


def test_lumina_outside_of_glands_are_dropped_and_only_what_is_asked_for_is_found():
    image = np.zeros((64, 96, 3), np.uint8)
    image[10:40, 10:40, 0] = image[20:30, 20:30, 1] = image[20:30, 70:80, 1] = 255
    windows = MarginWindows(window_px=48, margin_px=8)
    both = predict_objects(regions_of(), image, windows, ["gland", "lumen"])
    assert {name: found.max() for name, found in both.instance_maps.items()} == {"gland": 1, "lumen": 1}
    regions = regions_of(("lumen",))
    lumina = predict_objects(regions, image, windows, regions.wanted)
    assert list(lumina.instance_maps) == ["lumen"]
    np.testing.assert_array_equal(lumina.instance_maps["lumen"], both.instance_maps["lumen"])
    assert lumina.classes["lumen"].tolist() == [0]


def test_a_network_of_broken_weights_is_an_error_and_not_an_empty_result():
    def see(images, names):
        return {name: torch.full(images.shape[:3], float("nan")) for name in names}

    windows = MarginWindows(window_px=16, margin_px=0)
    with pytest.raises(DataError, match="gland produced NaN"):
        predict_objects(regions_of(inside=see), np.zeros((16, 16, 3), np.uint8), windows, ["gland"])


def test_other_windows_and_engines_are_refused():
    with pytest.raises(ConfigError, match="must have a margin for MILD-Net"):
        MildNetSpec().with_margin(OverlapWindows())
    with pytest.raises(ConfigError, match="Rota-Net runs eagerly in fp32"):
        require_eager(Execution(engine="openvino"), "Rota-Net")
    require_eager(Execution(), "Rota-Net")
