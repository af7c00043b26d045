"""Cellpose by its package: the network, what it learns, its loss and the objects that it makes."""

import importlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from histoseg.errors import ConfigError, DataError
from histoseg.maps.windows import MarginWindows, OverlapWindows
from histoseg.metrics.panoptic import count_panoptic
from histoseg.models.cellpose import CellposeSpec
from histoseg.models.cellpose.loss import FLOW_SCALE, loss_of
from histoseg.models.cellpose.predict import follow, predict_flows
from histoseg.models.cellpose.targets import flow_target
from histoseg.models.norm import SyncedBatchNorm
from histoseg.models.spec import Heads, MixedLearner, NetworkSpec
from histoseg.runs import catalog
from histoseg.runs.extras import is_installed
from histoseg.types import MixedBatch
from tests.models.cellpose.test_settings import task
from tests.models.drawn_nuclei import draw_nuclei

pytestmark = [
    pytest.mark.skipif(not is_installed("cellpose"), reason="install histoseg[cellpose]"),
    pytest.mark.filterwarnings("default"),  # Those of a package that this project does not install
]
TINY = CellposeSpec(width=2, enlarge=1)
TASKS = {"lizard": task("lizard", "nuclei")}


def batch_of(instance_maps):
    targets = [flow_target(each) for each in instance_maps]
    return MixedBatch(
        images=np.random.default_rng(0).integers(0, 256, (*np.shape(instance_maps), 3), dtype=np.uint8),
        classes=np.stack([target.classes for target in targets]),
        weights=np.stack([target.weights for target in targets]),
        maps=np.stack([target.maps for target in targets]),
        types=np.zeros(np.shape(instance_maps), np.uint8),
        structures=("nuclei",) * len(targets),
        keys=tuple(map(str, range(len(targets)))),
        seeds=tuple(range(len(targets))),
        counts={"nuclei": len(targets)},
    )


def test_it_does_what_the_protocol_says():
    assert catalog.load("histoseg.models", "cellpose").SPEC is CellposeSpec
    assert isinstance(TINY, NetworkSpec)
    network = TINY.build(TASKS, 3, 0).eval()
    assert isinstance(network, MixedLearner)
    assert TINY.heads(network) == Heads(num_classes={"nuclei": 2})
    again = TINY.rebuild(TINY.heads(network))
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in network.state_dict().items()}


def block(before, after, kernel=3):
    """A normalisation and the convolution behind it."""
    return 2 * before + before * after * kernel**2 + after


def test_it_has_as_many_parameters_as_its_layers_add_up_to():
    """By hand: four blocks and a shortcut at each of four sizes down and up; styles are 256 numbers."""
    down = up = 0
    for before, after in ((3, 32), (32, 64), (64, 128), (128, 256)):
        down += block(before, after) + 3 * block(after, after) + block(before, after, 1)
    for before, after in ((64, 32), (128, 64), (256, 128), (256, 256)):
        up += block(before, after) + 3 * (block(after, after) + 256 * after + after) + block(before, after, 1)
    network = CellposeSpec().build(TASKS, 0, 0)
    assert sum(each.numel() for each in network.parameters() if each.requires_grad) == down + up + block(32, 3, 1)


def test_the_same_seed_gives_the_same_network_and_leaves_the_global_state():
    state = torch.get_rng_state()
    one, same, other = (TINY.build(TASKS, seed, 0).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["net.downsample.down.res_down_0.conv.conv_0.2.weight"],
                           other["net.downsample.down.res_down_0.conv.conv_0.2.weight"])  # fmt: skip


def test_its_norms_are_those_of_the_package_over_all_ranks():
    norms = [each for each in TINY.build(TASKS, 0, 0).modules() if isinstance(each, torch.nn.BatchNorm2d)]
    assert len(norms) == 2 * 4 * 5 + 1
    assert {(type(each), each.eps, each.momentum) for each in norms} == {(SyncedBatchNorm, 1e-5, 0.05)}


def test_going_on_keeps_the_weights_of_the_same_structure():
    before = TINY.build(TASKS, 0, 0)
    after, other = (TINY.extend(before, tasks, 1) for tasks in (TASKS, {"glas": task("glas", "gland")}))
    own, same, new = (each.state_dict() for each in (before, after, other))
    assert all(torch.equal(own[name], same[name]) for name in own)
    assert other.parts.structure == "gland"
    assert not all(torch.equal(own[name], new[name]) for name in own)


def test_flows_are_vectors_of_length_one_towards_the_middle():
    rows, columns = np.mgrid[:64, :64]
    distances = np.hypot(rows - 30, columns - 34)
    target = flow_target((distances < 15).astype(np.int32))
    is_rim = (distances > 5) & (distances < 14)
    lengths = np.hypot(*target.maps)
    np.testing.assert_allclose(lengths[is_rim], 1, atol=1e-6)
    assert not target.maps[:, distances >= 15].any()
    towards = (target.maps[0] * (30 - rows) + target.maps[1] * (34 - columns)) / distances.clip(1)
    assert towards[is_rim].min() > 0.95
    np.testing.assert_array_equal(target.classes, distances < 15)


def test_pieces_of_one_id_flow_to_middles_of_their_own():
    square = np.zeros((48, 48), np.int32)
    square[4:15, 4:15] = square[30:41, 30:41] = 1
    apart = ndimage.label(square)[0].astype(np.int32)
    np.testing.assert_array_equal(flow_target(square).maps, flow_target(apart).maps)
    assert not flow_target(np.zeros((16, 16), np.int32)).maps.any()


def test_the_loss_is_the_packages():
    batch = batch_of([draw_nuclei(seed, 64, 4) for seed in range(3)])
    found = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    train = importlib.import_module("cellpose.train")
    labels = np.concatenate([batch.classes[:, None], batch.maps], axis=1).astype(np.float64)
    expected = train._loss_fn_seg(labels, found.clone(), torch.device("cpu"))
    torch.testing.assert_close(loss_of(found, batch).double(), expected.double(), rtol=1e-6, atol=0)


def test_pixels_that_are_not_labelled_do_not_count():
    whole = batch_of([draw_nuclei(0, 64, 4)])
    weights = whole.weights.copy()
    weights[:, :, 32:] = 0
    found = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    worse = found.clone()
    worse[..., 32:] = 100.0
    masked = replace(whole, weights=weights)
    assert loss_of(found, masked) == loss_of(worse, masked)
    assert loss_of(found, whole) < loss_of(worse, whole)
    assert loss_of(found, replace(whole, weights=np.zeros_like(weights))) == 0


@pytest.mark.parametrize(("num_rows", "noise"), [(18, 0.0), (12, 0.0), (8, 0.0), (12, 0.3)])
def test_drawn_nuclei_are_found_again(num_rows, noise):
    """Nuclei of 16 to 41 pixels, most of which touch others."""
    drawn = draw_nuclei(num_rows, 300, num_rows)
    target = flow_target(drawn)
    rng = np.random.default_rng(0)
    flows = FLOW_SCALE * target.maps + rng.normal(0, noise, target.maps.shape)
    found = follow(np.concatenate([flows, 10.0 * target.classes[None] - 5]).astype(np.float32))
    assert count_panoptic(drawn, found).pq >= 0.95
    assert set(np.unique(found)) == set(range(found.max() + 1))


def test_no_pixels_of_objects_make_no_objects():
    assert not follow(np.full((3, 40, 50), -1.0, np.float32)).any()


@pytest.mark.parametrize("enlarge", [1, 2])
def test_whole_images_of_any_size_are_predicted(enlarge):
    spec = replace(TINY, enlarge=enlarge)
    network = spec.build(TASKS, 0, 0).eval()
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    found = spec.predict(network, image, MarginWindows(window_px=96, margin_px=16))
    assert found.instance_maps["nuclei"].shape == (70, 90)
    assert (
        len(found.classes["nuclei"]) == len(found.class_probabilities["nuclei"]) == found.instance_maps["nuclei"].max()
    )
    assert spec.predict(network, image, MarginWindows(window_px=96, margin_px=16), heads=["gland"]).instance_maps == {}
    assert predict_flows(network, image, MarginWindows(window_px=96, margin_px=16)).shape == (3, 70, 90)


def test_windows_must_have_a_margin_and_weights_be_numbers():
    network = TINY.build(TASKS, 0, 0).eval()
    image = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(ConfigError, match="must have a margin for Cellpose"):
        TINY.predict(network, image, OverlapWindows())
    network.net.output[2].bias.data.fill_(torch.nan)
    with pytest.raises(DataError, match="NaN"):
        TINY.predict(network, image, MarginWindows(window_px=96, margin_px=16))


def test_it_learns_drawn_nuclei_in_a_few_steps():
    """White nuclei on black, the same two patches in each step."""
    maps = [draw_nuclei(seed, 64, 4) for seed in range(2)]
    batch = replace(
        batch_of(maps), images=np.stack([np.uint8(255) * (each > 0)[..., None].repeat(3, 2) for each in maps])
    )
    network = CellposeSpec(width=8, enlarge=1).build(TASKS, 0, 0).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(60):
        optimiser.zero_grad()
        loss = network.step_loss(batch, {})
        loss.backward()
        optimiser.step()
    found = CellposeSpec(width=8, enlarge=1).predict(
        network.eval(), batch.images[0], MarginWindows(window_px=96, margin_px=16)
    )
    assert count_panoptic(maps[0], found.instance_maps["nuclei"]).pq > 0.6
