"""Measures between tasks, taken from a network: each part against an independent one, alike on every rank."""

import math
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid

from histoseg.errors import ConfigError
from histoseg.models.unet.network import UNet, build
from histoseg.runs.config import Select
from histoseg.scoring import _affinity
from histoseg.scoring.affinity import Affinity
from histoseg.shards.in_memory import put_source
from histoseg.shards.reader import MetaDataset
from histoseg.store.objects import connect
from histoseg.training.process import Process
from histoseg.types import IGNORE, Batch
from tests.pipeline.small_runs import TASKS, leave_one_out_run
from tests.scoring.ranks import on_two_ranks
from tests.small_store import make_sample, make_task, squares_samples
from tests.synthetic import gradient_of, make_patches

NAMES = ("first", "second", "new")
EVALUATOR = Affinity(patches=5, pixels=7)


@pytest.fixture
def batch():
    patches = make_patches(np.random.default_rng(0), "new", 5, num_classes=3)
    patches.semantic_maps[:, :3] = IGNORE
    return Batch(patches=patches, global_size=5)


@pytest.fixture
def model():
    return build(4, "group", {"first": 2, "second": 2}, 1).eval()


@pytest.fixture
def run():
    run = leave_one_out_run()
    return replace(run, stages=run.stages[:1], score=Select(sources=("new",), splits=("train",)), evaluator=EVALUATOR)


@pytest.fixture
def dataset(tmp_path):
    """`new` shows what `first` shows, `second` its negative."""
    store = connect(f"file://{tmp_path / 'store'}")
    for seed, name in enumerate(NAMES):
        samples = squares_samples(np.random.default_rng(seed), ["a", "b", "c"], "semantic")
        if name == "second":
            samples = [replace(one, image=255 - one.image) for one in samples]
        put_source(store, make_task(name), TASKS, {"train": samples})
    return MetaDataset.open(store, NAMES, TASKS.layout, tmp_path / "cache")


def pixels_of(model, batch):
    """Features and labels of all labelled pixels, by the network alone."""
    with torch.no_grad():
        features = model.features(torch.from_numpy(batch.patches.images)).permute(0, 2, 3, 1).numpy()
    labelled = batch.patches.semantic_maps != IGNORE
    return features[labelled], batch.patches.semantic_maps[labelled]


def test_the_head_of_class_means_predicts_the_nearest_mean(model, batch):
    """As scikit-learn's classifier does."""
    features, labels = pixels_of(model, batch)
    headed = _affinity.with_class_means(model, "new", 3, batch)
    with torch.no_grad():
        logits = headed(torch.from_numpy(batch.patches.images), "new").permute(0, 2, 3, 1)
    predicted = logits.argmax(dim=-1).numpy()[batch.patches.semantic_maps != IGNORE]
    oracle = NearestCentroid().fit(features, labels).predict(features)
    assert (predicted == oracle).mean() > 0.999  # Ties within the precision of float32 may go either way.


def test_a_class_without_pixels_is_never_likely_and_leaves_the_gradient_finite(model, batch):
    headed = _affinity.with_class_means(model, "new", 4, batch)
    with torch.no_grad():
        assert (headed(torch.from_numpy(batch.patches.images), "new").softmax(dim=1)[:, 3] == 0).all()
    assert np.isfinite(_affinity.shared_gradient(headed, batch)).all()


def test_the_gradient_is_the_slope_of_the_loss(model, batch):
    """By central differences along its own direction, in float64; heads are held."""
    headed = _affinity.with_class_means(model, "new", 3, batch).double()
    gradient = _affinity.shared_gradient(headed, batch)
    shared = [p for name, p in headed.named_parameters() if not name.startswith("heads.")]
    assert len(gradient) == sum(p.numel() for p in shared)
    direction = torch.from_numpy(gradient / np.linalg.norm(gradient)).split([p.numel() for p in shared])
    images, truth = torch.from_numpy(batch.patches.images), torch.from_numpy(batch.patches.semantic_maps).long()

    def loss(step):
        moved = deepcopy(headed)
        parts = [p for name, p in moved.named_parameters() if not name.startswith("heads.")]
        with torch.no_grad():
            for weights, part in zip(parts, direction, strict=True):
                weights.add_(step * part.view_as(weights))
            return float(torch.nn.functional.cross_entropy(moved(images, "new"), truth, ignore_index=IGNORE))

    assert (loss(1e-6) - loss(-1e-6)) / 2e-6 == pytest.approx(np.linalg.norm(gradient), rel=1e-4)


def test_pooled_features_are_means_over_the_patch(model, batch):
    found = _affinity.pooled_of_all(model, batch, Process())
    with torch.no_grad():
        levels = model.encode(torch.from_numpy(batch.patches.images))
    assert [level.shape[1] for level in levels] == [4, 8, 16, 32, 64]
    np.testing.assert_allclose(found, np.hstack([level.numpy().mean(axis=(2, 3)) for level in levels[1:]]), rtol=1e-5)


def test_pixels_are_labelled_ones_of_every_patch(model, batch):
    features, labels = _affinity.pixels_of_all(model, batch, 7, 0, Process())
    assert features.shape == (35, 4)
    everything = {(*row, label) for row, label in zip(*pixels_of(model, batch), strict=True)}
    assert {(*row, label) for row, label in zip(features.astype(np.float32), labels, strict=True)} <= everything
    again, _ = _affinity.pixels_of_all(model, batch, 7, 1, Process())
    assert not np.array_equal(features, again)


def test_all_labelled_pixels_are_taken_where_there_are_few(model, batch):
    batch.patches.semantic_maps[:] = IGNORE
    batch.patches.semantic_maps[1, 0, :3] = 2
    _, labels = _affinity.pixels_of_all(model, batch, 7, 0, Process())
    assert labels.tolist() == [2, 2, 2]


def test_measuring_changes_nothing(model, dataset, run):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    scores = EVALUATOR.score(model, run, dataset, Process(), None)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not gradient_of(model).any()
    assert set(scores.measures) == {"gradient_alignment", "feature_distance", "logme"}
    assert all(map(math.isfinite, scores.measures.values()))
    assert EVALUATOR.score(model, run, dataset, Process(), None) == scores


def test_two_ranks_measure_what_one_does(monkeypatch, model, dataset, run):
    """Of five patches one rank has three, the other two."""
    alone = EVALUATOR.score(model, run, dataset, Process(), None)
    copies = [deepcopy(model), deepcopy(model)]
    found = on_two_ranks(
        monkeypatch, lambda process: EVALUATOR.score(copies[process.place.rank], run, dataset, process, None)
    )
    for scores in found:
        assert scores.measures == pytest.approx(dict(alone.measures), rel=1e-4)
        assert scores.sizes == alone.sizes


def test_the_same_tissue_is_nearer_than_its_negative(model, dataset, run):
    def distance(source):
        near = replace(run, stages=(replace(run.stages[0], select=Select(sources=(source,))),))
        return replace(EVALUATOR, patches=16).score(model, near, dataset, Process(), None).measures["feature_distance"]

    assert distance("first") < 0.5 * distance("second")


def test_a_source_of_one_class_has_no_logme(tmp_path, model, run):
    store = connect(f"file://{tmp_path / 'plain'}")
    for name in NAMES:
        samples = [make_sample(key, np.zeros((40, 40))) for key in "abc"]
        put_source(store, make_task(name), TASKS, {"train": samples})
    dataset = MetaDataset.open(store, NAMES, TASKS.layout, tmp_path / "cache")
    assert math.isnan(EVALUATOR.score(model, run, dataset, Process(), None).measures["logme"])


def test_what_cannot_be_measured_is_refused(model, dataset, run):
    with pytest.raises(ConfigError, match=r"evaluator\.patches = 1"):
        Affinity(patches=1)
    with pytest.raises(ConfigError, match=r"evaluator\.pixels = 0"):
        Affinity(pixels=0)
    with pytest.raises(ConfigError, match="keep = 'last'"):
        EVALUATOR.validate(model, run, dataset, run.score, Process())
    both = replace(run, stages=(replace(run.stages[0], select=Select(sources=("first",))),))
    both = replace(both, score=Select(sources=("second", "new"), splits=("train",)))
    with pytest.raises(ConfigError, match="one new task"):
        EVALUATOR.score(model, both, dataset, Process(), None)
    with pytest.raises(TypeError, match=UNet.__name__):
        EVALUATOR.score(torch.nn.Linear(1, 1), run, dataset, Process(), None)
