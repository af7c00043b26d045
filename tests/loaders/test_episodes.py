from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from histoseg.errors import ConfigError, DataError
from histoseg.loaders.episodes import EpisodeSampler, TaskPool, episode_loader, pool_of
from histoseg.runs.config import Data
from histoseg.types import Place


def make_pool(patients, images=None):
    """A pool with one row per entry; `patients` says whose."""
    images = range(len(patients)) if images is None else images
    return TaskPool(
        rows=np.arange(len(patients)) + 100,
        image=np.unique(list(images), return_inverse=True)[1],
        patient=np.unique(list(patients), return_inverse=True)[1],
    )


def sampler(pools, **changes):
    fields = {"weights": {}, "support": 2, "query": 2, "episodes": 4, "seed": 0}
    return EpisodeSampler(pools=pools, **(fields | changes))


def rows(plans):
    return {plan.row for plan in plans}


def test_an_episode_is_a_pure_function_of_seed_step_and_number():
    pools = {"a": make_pool("ppqqrr"), "b": make_pool("stuvwx")}
    assert sampler(pools).plan(7, 2) == sampler(pools).plan(7, 2)
    assert sampler(pools).plan(7, 2) != sampler(pools).plan(7, 3)
    assert sampler(pools).plan(7, 2) != sampler(pools, seed=1).plan(7, 2)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 5])
def test_ranks_together_have_the_steps_of_one_rank(world_size):
    pools = {"a": make_pool("ppqqrr"), "b": make_pool("stuvwx")}
    alone = sampler(pools).steps(Place(), 5)
    ranks = [sampler(pools).steps(Place(rank=rank, world_size=world_size), 5) for rank in range(world_size)]
    for _ in range(6):
        whole = next(alone)
        shares = [next(rank) for rank in ranks]
        assert [shares[i % world_size][i // world_size] for i in range(len(whole))] == whole
        assert sum(map(len, shares)) == len(whole)


def test_support_and_query_have_no_patient_in_common():
    pool = make_pool("aaaaabbbbbcccddde")
    for step in range(300):
        plan = sampler({"a": pool}).plan(step, 0)
        owners = [{int(pool.patient[row - 100]) for row in rows(part)} for part in (plan.support, plan.query)]
        assert not owners[0] & owners[1]


def test_with_one_patient_support_and_query_are_different_images():
    pool = make_pool("pppppp", images=[0, 0, 0, 1, 1, 1])
    for step in range(100):
        plan = sampler({"a": pool}).plan(step, 0)
        owners = [{int(pool.image[row - 100]) for row in rows(part)} for part in (plan.support, plan.query)]
        assert not owners[0] & owners[1]


def test_with_one_image_support_and_query_are_different_tiles():
    plan = sampler({"a": make_pool("pppp", images=[0, 0, 0, 0])}).plan(0, 0)
    assert len(rows(plan.support) | rows(plan.query)) == 4


def test_every_image_is_reached_in_both_roles():
    """The published sampler reaches 16 images of a source, whatever its size."""
    pool = make_pool([f"p{i // 3}" for i in range(60)])
    drawn = [sampler({"a": pool}).plan(step, 0) for step in range(400)]
    assert set.union(*(rows(plan.support) for plan in drawn)) == set(pool.rows.tolist())
    assert set.union(*(rows(plan.query) for plan in drawn)) == set(pool.rows.tolist())


def test_tasks_follow_the_given_table():
    pools = {name: make_pool("pqrs") for name in "abc"}
    draw = sampler(pools, weights={"a": 1.0, "b": 3.0})
    counts = Counter(draw.plan(step, 0).task for step in range(2000))
    assert counts["c"] == 0
    assert chisquare([counts["a"], counts["b"]], [500, 1500]).pvalue > 0.001


def test_too_few_images_are_refused_with_the_counts():
    with pytest.raises(DataError, match=r"a has 3 samples, but an episode needs 2 \+ 2"):
        sampler({"a": make_pool("pqr")})


@pytest.mark.parametrize("weights", [{"nope": 1.0}, {"a": -1.0}, {"a": 0.0}])
def test_weights_that_cannot_be_are_refused(weights):
    with pytest.raises(ConfigError):
        sampler({"a": make_pool("pqrs")}, weights=weights)


def test_loaded_episodes_are_those_of_the_plan(dataset):
    pools = {name: pool_of(dataset, name) for name in dataset.sources}
    draw = sampler(pools)
    loader = episode_loader(dataset, Data(patch_px=32), draw, place=Place(), first_step=3)
    for step in (3, 4, 5):
        batch = next(loader)
        assert batch.global_size == 4
        for number, episode in enumerate(batch.episodes):
            plan = draw.plan(step, number)
            keys = dataset.sources[plan.task].samples.key
            assert episode.task == plan.task
            assert episode.support.keys == tuple(keys[p.row] for p in plan.support)
            assert episode.query.images.shape == (2, 32, 32, 3)
    loader.close()
