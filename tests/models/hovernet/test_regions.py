"""HoVer-Net on images and slides: regions that are settled one by one and stitched give the nuclei of all of it."""

from copy import deepcopy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from histoseg.demo.slides import write_slide
from histoseg.engines import Execution
from histoseg.errors import ConfigError, DataError
from histoseg.inference.array import segment
from histoseg.inference.segment import segment_slide
from histoseg.maps.evidence import Evidence, RegionEvidence
from histoseg.maps.windows import MarginWindows, OverlapWindows
from histoseg.models.hovernet import HoVerNetSpec, regions
from histoseg.models.hovernet.network import HoVerNetParts, build
from histoseg.models.hovernet.postprocess import steepness
from histoseg.models.hovernet.regions import HoVerNetRegions, least_margin_px
from histoseg.models.hovernet.targets import distance_maps
from histoseg.models.weights import Model
from histoseg.slides.objects import ObjectFile
from histoseg.slides.options import SegmentOptions
from histoseg.store.objects import FileStore
from tests.models.drawn_nuclei import draw_nuclei
from tests.slides.fields import find_whole, list_pixels
from tests.slides.test_stitch import find_by_region


@cache
def random_network(mode, num_types):
    """Of random weights; its norms are those of random pixels, so that it finds something."""
    network = build(HoVerNetParts(mode=mode, width=8, num_types=num_types), 0)
    draw = torch.Generator().manual_seed(0)
    side = {"fast": 160, "original": 262}[mode]
    with torch.no_grad():
        for _ in range(8):
            network.train()(torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8, generator=draw))
    return network.eval()


def random_model(mode="fast", num_types=3):
    names = ("background", *"abcdef"[: num_types - 1]) if num_types else ()
    return Model(
        spec=HoVerNetSpec(mode=mode, width=8),
        network=deepcopy(random_network(mode, num_types)),
        classes={"nuclei_type": names} if names else {},
        mpp=0.5,
        origin="a test",
    )


@pytest.mark.parametrize("seed", range(3))
def test_stitched_regions_give_the_nuclei_of_one_large_region(seed):
    """Drawn nuclei with noise; regions of 48 to 112 pixels cut many of them."""
    rng, drawn = np.random.default_rng(seed), draw_nuclei(seed, 320, 18)
    maps = (distance_maps(drawn) + rng.normal(0, 0.2, (2, 320, 320))).astype(np.float32)
    evidence = RegionEvidence(
        objects={
            "nuclei": Evidence(
                mask=(drawn > 0) ^ (rng.random(drawn.shape) < 0.01),
                inner=steepness(maps),
                types=rng.integers(0, 4, drawn.shape).astype(np.uint8),
            )
        }
    )
    rules = HoVerNetRegions(build(HoVerNetParts(width=8, num_types=4), 0))
    whole = list_pixels(find_whole(evidence, rules))
    found, num_stitched = find_by_region(evidence, rules, (320, 320), (48, 64, 112)[seed])
    assert len(whole) > 150
    assert num_stitched > 20
    assert list_pixels(found) == whole


def rows_of(folder):
    table = ObjectFile.open(FileStore(folder), "one/objects.parquet").read().drop_columns(["geometry"])
    return sorted(tuple(map(str, row.values())) for row in table.to_pylist())


def test_a_slide_has_the_same_nuclei_however_it_is_divided(tmp_path, monkeypatch):
    """Regions of 128 pixels, and one of all; windows see the same in both.

    One at a time: how many windows a network is given at once changes the last bit of what it says.
    """
    monkeypatch.setattr(regions, "PIXELS_AT_ONCE", 1)
    address, model = str(tmp_path / "one.tif"), random_model()
    write_slide(tmp_path / "one.tif", width=256, height=256, mpp=0.5, seed=3)
    options = SegmentOptions(windows=MarginWindows(window_px=240, margin_px=56), mask="none")
    found = []
    for region_px in (128, 4096):
        store = FileStore(tmp_path / str(region_px))
        summary, _ = segment_slide(address, model, store, replace(options, region_px=region_px))
        found.append(rows_of(store.root))
        assert summary.counts["nuclei"].all == len(found[-1])
    assert found[0] == found[1]
    assert len(found[0]) > 5


@pytest.mark.parametrize(("mode", "margin"), [("fast", 56), ("original", 112)])
def test_more_margin_moves_nothing(mode, margin):
    """Windows of one size of what they give; all of a window's context beyond the network's own is thrown away.

    A wider window differs only by what its padding reaches, which is far from its middle.
    """
    model = random_model(mode, 0)
    assert least_margin_px(mode) == margin
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    predictor = HoVerNetRegions(model.network)
    maps = []
    for extra in (0, 8):
        windows = MarginWindows(window_px=64 + 2 * (margin + extra), margin_px=margin + extra)
        seen = predictor.evidence(image, windows.over(image, predictor.unit_px), (64, 64))
        maps.append(seen.objects["nuclei"])
    assert maps[0].mask.shape == (64, 64)
    assert np.mean(maps[0].mask == maps[1].mask) > 0.97
    assert np.corrcoef(maps[0].inner.ravel(), maps[1].inner.ravel())[0, 1] > 0.95


def test_what_is_kept_is_what_the_network_says_of_the_same_pixels():
    model = random_model()
    image = np.random.default_rng(1).integers(0, 256, (176, 176, 3), dtype=np.uint8)
    windows = MarginWindows(window_px=176, margin_px=56).over(image[56:-56, 56:-56])
    seen = HoVerNetRegions(model.network).evidence(image, windows, (64, 64)).objects["nuclei"]
    with torch.inference_mode():
        found = {name: value[0].numpy() for name, value in model.network(torch.from_numpy(image)[None]).items()}
    middle = np.s_[10:74, 10:74]  # Of 84 predicted pixels; ten more are for slopes
    np.testing.assert_array_equal(seen.mask, (found["np"][1] >= found["np"][0])[middle])
    np.testing.assert_array_equal(seen.types, found["tp"].argmax(axis=0)[middle])
    np.testing.assert_allclose(seen.inner, steepness(found["hv"])[middle], atol=1e-5)


def test_an_image_is_segmented_with_classes():
    model = random_model()
    image = np.random.default_rng(2).integers(0, 256, (130, 150, 3), dtype=np.uint8)
    found = segment(model, image)
    assert found.instance_maps["nuclei"].shape == (130, 150)
    assert len(found.classes["nuclei"]) == found.instance_maps["nuclei"].max() > 0
    assert found.tissue is None
    assert not segment_none(model, image).instance_maps


def segment_none(model, image):
    return model.spec.predict(model.network, image, MarginWindows(), heads=["gland"])


def test_windows_that_show_too_little_are_refused():
    model, image = random_model(), np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(ConfigError, match=r"margin_px = 48: must be 56 or more for HoVer-Net in mode 'fast'"):
        segment(model, image, windows=MarginWindows(window_px=160, margin_px=48))
    with pytest.raises(ConfigError, match=r"must have a margin for HoVer-Net, as MarginWindows\(margin_px=56\)"):
        segment(model, image, windows=OverlapWindows(window_px=64))


def test_values_that_are_not_finite_are_refused():
    model = random_model()
    model.network.decoders["hv"].head.bias.data[0] = torch.nan
    with pytest.raises(DataError, match="branch hv produced NaN"):
        segment(model, np.zeros((64, 64, 3), np.uint8))


def test_engines_are_refused():
    model = random_model()
    model.spec.regions(model.network, execution=Execution())
    with pytest.raises(ConfigError, match="HoVer-Net runs eagerly in fp32"):
        model.spec.regions(model.network, execution=Execution(precision="bf16"))
