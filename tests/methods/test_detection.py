"""The detection stage: what it begins with, that ranks add up, and that an interrupted training ends the same."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from histoseg.errors import ConfigError
from histoseg.maps.boxes import draw_boxes
from histoseg.methods.detection import Detection
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.retinanet import RetinaNetSpec
from histoseg.runs import catalog
from histoseg.runs.config import Data, Optim, Run, Select, Stage
from histoseg.scoring.detection import DetectedBoxes
from histoseg.shards.in_memory import put_source
from histoseg.shards.reader import MetaDataset
from histoseg.store.objects import connect
from histoseg.training import loop
from histoseg.training.checkpoint import Checkpoints
from histoseg.training.process import Process
from histoseg.types import Boxes, Place, Sample
from tests.stages import train_first, with_stage
from tests.synthetic import gradient_of
from tests.training.ranks import free_port, two_processes
from tests.training.test_ranks import train_as_rank

TASK = catalog.load("histoseg.sources", "digestpath_signet").TASK
DATA = Data(patch_px=32, scale=(0.9, 1.1), rotate_deg=0.0)
SPEC = RetinaNetSpec(encoder="resnet18", width=4)
RUN = Run(
    experiment="e",
    scale="s",
    row="r",
    data=DATA,
    network=SPEC,
    stages=(
        Stage(
            label="detect",
            method=Detection(batch=3),
            select=Select(sources=(TASK.name,), splits=("train",)),
            optim=Optim(lr=1e-3, steps=4),
        ),
    ),
    score=Select(sources=(TASK.name,), splits=("test",)),
    evaluator=DetectedBoxes(window_px=64, margin_px=16),
)


def draw_sample(key, count, side=64):
    """White squares on grey, and their boxes."""
    rng = np.random.default_rng(abs(int(key[1:])))
    corner = rng.integers(0, side - 20, (count, 2))
    corners = np.hstack([corner, corner + rng.integers(10, 20, (count, 2))]).astype(np.float32)
    boxes = Boxes(corners=corners, classes=np.ones(count, np.uint8))
    image = rng.integers(90, 130, (side, side, 3), dtype=np.uint8)
    semantic_map = draw_boxes(boxes, (side, side))
    image[semantic_map > 0] = 250
    return Sample(key=key, patient=key, image=image, semantic_map=semantic_map, mpp=0.5, boxes=boxes)


def put(url):
    counts = {"train": [3, 1, 4, 2], "test": [2, 0, 3, 0]}
    samples = {
        split: [draw_sample(f"{split[0]}{i}", count) for i, count in enumerate(own)] for split, own in counts.items()
    }
    put_source(connect(url), TASK, DATA, samples)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    found = f"file://{tmp_path_factory.mktemp('boxes')}"
    put(found)
    return found


@pytest.fixture
def dataset(url, tmp_path):
    return MetaDataset.open(connect(url), [TASK.name], DATA.layout, tmp_path / "cache")


def batches(dataset, method, place=Place(), seed=0):  # noqa: B008  # a value
    return method.batches(dataset, RUN, seed=seed, place=place, first_step=0)


def test_shares_of_ranks_add_up_whatever_they_show(dataset):
    """Norms stay as they are here, so a gradient is a sum over images; one image of three is on the other rank."""
    method = Detection(batch=3)
    network = SPEC.build({TASK.name: TASK}, 0, 0).eval()
    whole = method.backward(network, next(batches(dataset, method)))
    expected = gradient_of(network)
    network.zero_grad()
    parts = [method.backward(network, next(batches(dataset, method, Place(rank=i, world_size=4)))) for i in range(4)]
    assert parts[3] == 0  # Which has no image
    assert sum(parts) == pytest.approx(whole, rel=1e-5)
    torch.testing.assert_close(gradient_of(network), expected, rtol=1e-4, atol=1e-6)


def test_patches_show_what_boxes_say(dataset):
    drawn = next(batches(dataset, Detection(batch=8)))
    assert drawn.images.shape == (8, 32, 32, 3)
    assert sum(len(one.classes) for one in drawn.boxes) > 3
    for image, boxes in zip(drawn.images, drawn.boxes, strict=True):
        inside = draw_boxes(boxes, (32, 32)) > 0
        assert image[inside].mean() > 160 if inside.any() else True


def test_repeats_draw_other_heads_and_patches(dataset):
    before = CerberusSpec(encoder="resnet18", width=4).build({"glas": catalog.load_source("glas").TASK}, 3, 96)
    networks = [Detection(repeat=i).network(RUN, {TASK.name: TASK}, before, 5) for i in (0, 1)]
    drawn = [next(batches(dataset, Detection(batch=2, repeat=i))).images for i in (0, 0, 1)]
    name = "regression_head.bbox_reg.weight"
    assert not torch.equal(networks[0].head.state_dict()[name], networks[1].head.state_dict()[name])
    for network in networks:
        assert torch.equal(network.encoder.conv1.weight, before.encoder.conv1.weight)
        assert all(parameter.requires_grad for parameter in network.parameters())
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_every_weight_is_trained(dataset):
    method, network = Detection(batch=4), SPEC.build({TASK.name: TASK}, 0, 0).train()
    method.backward(network, next(batches(dataset, method)))
    still = [name for name, one in network.named_parameters() if one.grad is None or not one.grad.abs().sum()]
    assert still == []


def test_a_resumed_training_ends_as_an_uninterrupted_one(dataset, tmp_path, monkeypatch):
    class Interrupted(Exception):
        pass

    def stop(status):
        if status.step == 3:
            raise Interrupted

    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr("histoseg.training.listeners.LOG_EVERY_S", 0.0)
    store = connect(f"file://{tmp_path / 'runs'}")
    whole = train_first(RUN, dataset, Checkpoints(store, "whole"))
    checkpoints = Checkpoints(store, "broken")
    with pytest.raises(Interrupted):
        train_first(
            RUN, dataset, checkpoints, Process(listeners=(SimpleNamespace(on_status=stop, close=lambda: None),))
        )
    assert checkpoints.steps()[-1] == 2
    resumed = train_first(RUN, dataset, checkpoints)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    assert resumed.curve == whole.curve


@pytest.mark.slow
def test_two_ranks_end_with_the_weights_of_one_process(url, tmp_path):
    """Real processes, whose batch norms are of the whole step; five patches, so shares are uneven."""
    run = with_stage(RUN, method=Detection(batch=5), optim={"lr": 1e-4, "steps": 3})
    from histoseg.runs.names import to_json

    job = {"run": to_json(run), "store": url, "folder": str(tmp_path)}
    train_as_rank(0, 1, 0, job)
    with two_processes() as on_two_ranks:
        on_two_ranks(train_as_rank, 2, free_port(), job)
    alone, *ranks = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("1-0", "2-0", "2-1"))
    for name, value in alone["weights"].items():
        assert torch.equal(ranks[0]["weights"][name], ranks[1]["weights"][name]), name
        # Adam makes rounding errors of gradients near 0 larger; a wrong share would show in steps of 1e-4.
        torch.testing.assert_close(ranks[0]["weights"][name], value, rtol=0, atol=1e-5)
    assert ranks[0]["losses"] == ranks[1]["losses"] == pytest.approx(alone["losses"], abs=1e-5)


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match="batch = 0"):
        Detection(batch=0)
    with pytest.raises(ConfigError, match="repeat = -1"):
        replace(Detection(), repeat=-1)
