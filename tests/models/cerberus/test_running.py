"""Ways to run a Cerberus that leave its result as it is: cropped decoders, folded normalisation, engines."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from histoseg.engines import Execution
from histoseg.engines.eager import run_eagerly
from histoseg.engines.openvino_cpu import convert_heads
from histoseg.engines.trial import TOLERANCES, differ
from histoseg.errors import ConfigError
from histoseg.inference.segment import _made_of
from histoseg.maps.windows import MarginWindows, Window
from histoseg.models.cerberus.crop import REACH_PX, crop_to_core
from histoseg.models.cerberus.fold import fold_norms
from histoseg.models.cerberus.heads import AllHeads
from histoseg.models.cerberus.network import CerberusParts, build
from histoseg.models.cerberus.regions import CerberusRegions
from histoseg.models.cerberus.running import runner_of
from histoseg.models.unet import UNetSpec
from histoseg.runs.extras import is_installed
from histoseg.slides.options import SegmentOptions
from tests.slides.blobs import draw_model

DECODERS = {"gland": 2, "nuclei": 3, "nuclei_type": 4}
ON_BRANCH = {"nuclei_type": "nuclei"}
WINDOW = Window(top=0, left=0, height=48, width=64, margin_px=24)
ENCODERS = ("resnet18", "resnet50", "unet")


def draw(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def train_a_little(network):
    """Statistics of batches, so that features are neither tiny nor huge."""
    network.train()
    with torch.no_grad():
        for seed in range(20):
            network(torch.from_numpy(draw(2, 96, 96, seed=seed)))
    return network.eval()


def draw_network(encoder="resnet18", branches=None):
    parts = CerberusParts(
        encoder=encoder, width=8, decoders=DECODERS, branches=branches or {}, tissue=3, tissue_cells=2
    )
    return train_a_little(build(parts, 0))


@pytest.fixture(scope="module")
def network():
    return draw_network()


def images_of(window, count=1):
    return torch.from_numpy(draw(count, window.height + 2 * window.margin_px, window.width + 2 * window.margin_px))


@pytest.mark.parametrize("margin_px", [0, 8, 16, 24, 72])
@pytest.mark.parametrize("encoder", ENCODERS)
@torch.no_grad()
def test_a_cropped_decoder_gives_the_middle_of_the_whole(encoder, margin_px):
    network, window = draw_network(encoder), replace(WINDOW, margin_px=margin_px)
    features = network.encode(images_of(window, 2))
    whole = network.decode(features, "nuclei")[:, :, *window.core]
    cropped = network.decode(features, "nuclei", crop_to_core(window))
    torch.testing.assert_close(cropped, whole, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_head_on_a_cropped_branch_gives_the_middle_of_the_whole():
    network = draw_network("unet", ON_BRANCH)
    whole = network(images_of(WINDOW, 2))["nuclei_type"][:, :, *WINDOW.core]
    *_, cropped, _ = AllHeads(network, list(DECODERS), WINDOW)(images_of(WINDOW, 2))
    torch.testing.assert_close(cropped, whole, rtol=1e-5, atol=1e-5)


def test_what_levels_need_worked_by_hand():
    """48 rows from 24 on, of 96, at full size: convolutions see 22 to 74, for which they need 10 to 38 at half size."""
    full, half, *_ = crop_to_core(WINDOW).rows
    assert (REACH_PX, full.kept, full.seen, full.first) == (2, (24, 72), (22, 74), 20)
    assert (half.kept, half.seen) == ((10, 38), (8, 40))


@pytest.mark.parametrize(("encoder", "branches"), [*((encoder, {}) for encoder in ENCODERS), ("unet", ON_BRANCH)])
def test_folding_changes_nothing_but_rounding(encoder, branches):
    network = draw_network(encoder, branches)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded = fold_norms(network)
    with torch.no_grad():
        difference, _ = differ(*(list(each(images_of(WINDOW)).values()) for each in (network, folded)))
    assert difference < 1e-4
    # What is left of normalisation stands before a convolution, in the head for tissue.
    assert sum(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules()) == 2
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def see(network, execution, image, **options):
    regions = CerberusRegions(network, 0.5, execution=execution, **options)
    windows = MarginWindows(window_px=96, margin_px=16).over(image, regions.unit_px)
    return regions.evidence(image, windows, image.shape[:2])


def assert_close(found, expected, share):
    for name, evidence in expected.objects.items():
        assert np.mean(found.objects[name].mask != evidence.mask) <= share
        if evidence.types is not None:
            assert np.mean(found.objects[name].types != evidence.types) <= share
    np.testing.assert_allclose(found.objects["nuclei"].inner, expected.objects["nuclei"].inner, atol=share)
    np.testing.assert_allclose(found.tissue, expected.tissue, atol=share)


@pytest.mark.parametrize("branches", [{}, ON_BRANCH])
def test_regions_are_what_the_network_itself_says(network, branches):
    network, image = draw_network(branches=branches) if branches else network, draw(150, 130)
    plain = see(network, None, image)
    assert_close(see(network, Execution(engine="eager"), image), plain, 1e-3)
    assert_close(see(network, Execution(engine="eager"), image, pixels_at_once=10**6), plain, 1e-3)


def test_regions_in_bfloat16_are_coarser_but_similar(network):
    image = draw(150, 130)
    plain, coarse = see(network, None, image), see(network, Execution(engine="eager", precision="bf16"), image)
    for name in ("gland", "nuclei"):
        assert np.mean(coarse.objects[name].mask == plain.objects[name].mask) >= TOLERANCES["bf16"].agreement
    assert coarse.objects["nuclei"].inner.dtype == np.float32
    assert np.abs(coarse.objects["nuclei"].inner - plain.objects["nuclei"].inner).max() > 1e-4


@pytest.mark.skipif(not is_installed("openvino"), reason="install histoseg[openvino]")
@pytest.mark.parametrize("branches", [{}, ON_BRANCH])
def test_openvino_says_the_same(branches):
    network = draw_network("unet", branches)
    heads = AllHeads(fold_norms(network), ["gland", "nuclei", "nuclei_type"], WINDOW)
    converted = convert_heads(heads, images_of(WINDOW, 2))
    difference, agreement = differ(run_eagerly(heads, "fp32")(images_of(WINDOW, 2)), converted(images_of(WINDOW, 2)))
    assert difference <= TOLERANCES["fp32"].difference
    assert agreement >= TOLERANCES["fp32"].agreement


def test_one_runner_serves_all_regions_whose_windows_are_alike(network):
    options = (network, ("gland",), WINDOW, Execution(engine="eager"), 2**20)
    runner = runner_of(*options)
    assert runner_of(*options) is runner
    assert runner.at_once == 2**20 // (96 * 112)
    assert runner_of(network, ("nuclei",), *options[2:]) is not runner


def test_a_network_that_is_gone_takes_its_runner_with_it():
    network = draw_network()
    runner = weakref.ref(runner_of(network, ("gland",), WINDOW, Execution(engine="eager"), 2**20))
    del network
    gc.collect()
    assert runner() is None


def test_results_are_made_of_a_precision_and_of_no_engine(tmp_path):
    (tmp_path / "slide.tif").write_bytes(b"some bytes")
    made_of = {
        execution: _made_of(str(tmp_path / "slide.tif"), draw_model(), SegmentOptions(execution=execution))
        for execution in (Execution(), Execution(engine="eager"), Execution(precision="bf16"))
    }
    assert len(set(made_of.values())) == 2
    assert made_of[Execution()] == made_of[Execution(engine="eager")]


def test_a_unet_has_one_way_to_be_run():
    spec = UNetSpec(width=4)
    with pytest.raises(ConfigError, match="leave --engine and --precision out"):
        spec.regions(build_unet(), execution=Execution(precision="bf16"))
    assert spec.regions(build_unet(), execution=Execution()).tasks == ("glas",)


def build_unet():
    from histoseg.models.unet.network import build

    return build(4, "group", {"glas": 2}, 0)
