"""Class-weighted sampling: what is drawn, how often, and that nothing is left out."""

from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chisquare

from histoseg.errors import ConfigError
from histoseg.loaders.batches import BatchSampler
from histoseg.loaders.by_class import class_pixels_by_name, shares_by_class
from histoseg.loaders.episodes import EpisodeSampler, TaskPool
from histoseg.loaders.mixed import MixedSampler, Pool, pools_of
from histoseg.methods.maml import Maml
from histoseg.methods.multitask import MultiTask
from histoseg.methods.subtyping import Subtyping
from histoseg.methods.transfer import Transfer
from histoseg.runs.config import Data
from histoseg.shards.in_memory import put_source
from histoseg.shards.reader import MetaDataset
from histoseg.store.objects import connect
from histoseg.types import IGNORE, Place
from tests.pipeline.small_runs import folds_run, leave_one_out_run
from tests.small_store import make_sample, make_task

# Four samples of 100 pixels: the second class is in the first two, the third is nowhere, the last is not labelled.
PIXELS = np.array([[60, 40, 0], [40, 60, 0], [100, 0, 0], [0, 0, 0]])
# By class: a half of the draws for 200 pixels of the first class, the other for 100 of the second.
BY_CLASS = np.array([60 / 400 + 40 / 200, 40 / 400 + 60 / 200, 100 / 400, 0])
SHARES = 0.2 * np.full(4, 0.25) + 0.8 * BY_CLASS
CLASSES = ("background", "tumour", "rare")
METHODS = [Transfer, Maml, MultiTask, Subtyping]


def test_shares_are_those_worked_by_hand():
    np.testing.assert_allclose(shares_by_class(PIXELS, np.ones(4), 0.8), SHARES)
    np.testing.assert_allclose(SHARES, [0.33, 0.37, 0.25, 0.05])


def test_a_share_of_draws_is_as_usual():
    usual = np.array([1.0, 1.0, 2.0, 4.0])
    np.testing.assert_allclose(shares_by_class(PIXELS, usual, 0.5), 0.5 * usual / 8 + 0.5 * BY_CLASS)
    np.testing.assert_allclose(shares_by_class(PIXELS, usual, 0.0), usual / 8)


def test_where_one_class_occurs_nothing_is_weighed():
    np.testing.assert_allclose(shares_by_class(np.array([[5, 0], [95, 0]]), np.ones(2), 0.9), [0.5, 0.5])


COUNTS = arrays(np.int64, st.tuples(st.integers(1, 8), st.integers(1, 5)), elements=st.integers(0, 10**6))


@settings(max_examples=100, deadline=None)
@given(COUNTS, st.floats(0, 0.99), st.integers(2, 9))
def test_every_sample_can_be_drawn_and_no_class_counts_for_its_size(pixels, weighting, factor):
    """A class with several times as many pixels in every sample is drawn as often as before."""
    shares = shares_by_class(pixels, np.ones(len(pixels)), weighting)
    assert shares.sum() == pytest.approx(1)
    assert (shares >= (1 - weighting) / len(pixels) - 1e-12).all()
    larger = pixels * ([factor] + [1] * (pixels.shape[1] - 1))
    np.testing.assert_allclose(shares_by_class(larger, np.ones(len(pixels)), weighting), shares, atol=1e-12)


def batch_sampler(seed=0, batch=5):
    rows = {"a": np.arange(10, 14), "b": np.arange(6)}
    return BatchSampler(rows=rows, batch=batch, seed=seed, shares={"a": SHARES})


def test_batches_have_samples_by_their_shares():
    plans = [plan for step in islice(batch_sampler().steps(0), 1600) for plan in step]
    counts = Counter((plan.source, plan.row) for plan in plans)
    of_a = [counts["a", row] for row in range(10, 14)]
    assert sum(of_a) == len(plans) / 2  # As many of each source, as ever.
    assert chisquare(of_a, sum(of_a) * SHARES).pvalue > 0.001
    assert all(counts["b", row] for row in range(6))


def test_an_epoch_by_class_equals_its_definition():
    """Restated with NumPy alone; the source without shares is drawn as ever."""
    rng = np.random.default_rng(np.random.SeedSequence([3, 0, 2]))
    rows = np.concatenate([rng.choice(np.arange(10, 14), 4, p=SHARES), rng.choice(6, 4, replace=False)])
    order = rng.permutation(8)
    owners, drawn = batch_sampler(seed=3).epoch(2)
    assert owners.tolist() == np.repeat([0, 1], 4)[order].tolist()
    assert drawn.tolist() == rows[order].tolist()


@pytest.mark.parametrize("world_size", [2, 3, 8])
def test_ranks_together_have_the_steps_of_one_rank(world_size):
    alone = batch_sampler().steps(5)
    ranks = [batch_sampler().steps(5, Place(rank=rank, world_size=world_size)) for rank in range(world_size)]
    for _ in range(6):
        whole, shares = next(alone), [next(rank) for rank in ranks]
        assert [shares[i % world_size][i // world_size] for i in range(len(whole))] == whole


def episode_sampler(share):
    """One task of one image, so that support and query are drawn from all samples together."""
    alone = np.zeros(4, int)
    pool = TaskPool(rows=np.arange(4), image=alone, patient=alone, share=share)
    return EpisodeSampler(pools={"a": pool}, weights={}, support=1, query=1, episodes=1, seed=0)


def test_episodes_have_samples_by_their_shares():
    """The second sample is drawn among those that are left: of (i, j) the chance is s_i s_j / (1 - s_i)."""
    sampler = episode_sampler(SHARES)
    plans = [sampler.plan(step, 0) for step in range(6000)]
    counts = Counter((plan.support[0].row, plan.query[0].row) for plan in plans)
    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
    expected = [6000 * SHARES[i] * SHARES[j] / (1 - SHARES[i]) for i, j in pairs]
    assert set(counts) == set(pairs)
    assert chisquare([counts[pair] for pair in pairs], expected).pvalue > 0.001


def test_support_and_query_keep_their_patients_apart():
    patient = np.array([0, 0, 0, 1, 1, 1])
    share = np.array([0.9, 0.02, 0.02, 0.02, 0.02, 0.02])
    pool = TaskPool(rows=np.arange(6), image=np.arange(6), patient=patient, share=share)
    sampler = EpisodeSampler(pools={"a": pool}, weights={}, support=2, query=2, episodes=1, seed=0)
    drawn = Counter()
    for step in range(400):
        plan = sampler.plan(step, 0)
        sides = [{plan.row for plan in part} for part in (plan.support, plan.query)]
        assert [len(side) for side in sides] == [2, 2]
        assert len({*patient[list(sides[0])]}) == 1
        assert not {*patient[list(sides[0])]} & {*patient[list(sides[1])]}
        drawn.update(sides[0] | sides[1])
    assert set(drawn) == set(range(6))
    # Of its side it is one of two: the chance to be neither is (0.04 / 0.94) (0.02 / 0.92), a thousandth.
    assert drawn[0] > 390


@pytest.fixture
def labels(tmp_path):
    """Two sources of nuclei whose classes have other names and numbers, in a store; squares of 16 pixels."""
    store = connect(f"file://{tmp_path / 'store'}")
    data = Data(patch_px=32, scale=(1.0, 1.0), rotate_deg=0.0)

    def put(name, classes, maps):
        samples = [
            make_sample(f"{name}{i}", np.kron(np.array(m), np.ones((16, 16), int)), instance_map=None)
            for i, m in enumerate(maps)
        ]
        put_source(store, make_task(name, classes, structure="nuclei"), data, {"train": samples})

    put("first", CLASSES, [[[0, 1], [0, 1]], [[0, 2], [0, 0]]])
    put("second", ("background", "rare", "tumour"), [[[0, 2], [IGNORE, IGNORE]]])
    return MetaDataset.open(store, ["first", "second"], data.layout, tmp_path / "cache"), data


def test_classes_of_one_name_are_one_class(labels):
    dataset, _ = labels
    indexes = list(dataset.sources.values())
    found = class_pixels_by_name(indexes, [index.rows() for index in indexes])
    assert (found // 256).tolist() == [[2, 2, 0], [3, 0, 1], [1, 1, 0]]  # background, tumour, rare


def test_pools_of_structures_are_drawn_by_class(labels):
    """Of 6 squares of background, 3 of tumour and 1 of the rare class; without weights, shares are areas."""
    dataset, data = labels
    by_class = np.array([2 / 6 + 2 / 3, 3 / 6 + 1 / 1, 1 / 6 + 1 / 3]) / 3
    np.testing.assert_allclose(pools_of(dataset, data, 0.75)["nuclei"].share, 0.25 / 3 + 0.75 * by_class)
    assert pools_of(dataset, data)["nuclei"].share.tolist() == [1, 1, 1]


def test_structures_have_samples_by_their_shares():
    pool = Pool(sources=("a",), owner=np.zeros(4, int), rows=np.arange(4), share=SHARES)
    sampler = MixedSampler(pools={"nuclei": pool}, batch=9, mixed=True, seed=0)
    plans = [sampler.plan(step, Place()) for step in range(600)]
    rows = Counter(patch.row for plan in plans for patch in plan.patches["nuclei"])
    assert chisquare([rows[row] for row in range(4)], 5400 * SHARES).pvalue > 0.001


@pytest.mark.parametrize("weighting", [0.0, 0.9])
@pytest.mark.parametrize(
    "method", [Transfer(batch=8), Maml(support=1, query=1), MultiTask(batch=8), Subtyping(batch=8)]
)
def test_methods_draw_as_they_are_asked_to(tmp_path, method, weighting):
    """One of six images alone has the rare class. By its share of 0.1 / 6 + 0.9 (1 / 11 + 1) / 2 = 0.51 it is drawn for
    half of all patches instead of a sixth; in episodes of two images it is one of its half's three, so for a third."""
    run = folds_run() if isinstance(method, MultiTask | Subtyping) else leave_one_out_run()
    store, split = connect(f"file://{tmp_path / 'store'}"), "fold1" if run.data.folds else "train"
    plain, rare = np.zeros((32, 32), int), np.tile(np.repeat([0, 2], 16), (32, 1))
    images = [make_sample(key, rare if key == "f" else plain, (rare if key == "f" else plain) > 0) for key in "abcdef"]
    put_source(store, make_task("cells", CLASSES, "instance", "nuclei"), run.data, {split: images})
    dataset = MetaDataset.open(store, ["cells"], run.data.layout, tmp_path / "cache")
    batches = replace(method, class_weighting=weighting).batches(dataset, run, seed=0, place=Place(), first_step=0)
    keys = Counter(key for batch in islice(batches, 30) for key in batch.keys)
    batches.close()
    share = keys["f"] / sum(keys.values())
    assert share > 0.3 if weighting else share < 0.25


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("weighting", [-0.1, 1.0, float("nan")])
def test_weightings_that_leave_samples_out_are_refused(method, weighting):
    with pytest.raises(ConfigError, match=r"class_weighting = .*below 1"):
        method(class_weighting=weighting)
