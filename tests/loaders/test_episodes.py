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


def test_an_episode_equals_its_definition():
    """Restated with NumPy alone: another release must draw the same episodes for the same seed.

    One of two tasks is drawn, then support and query. Two patients have one image and the third has four, so both sides
    cannot be filled from different patients; after 32 attempts images are dealt, of six one half to each side.
    """
    pools = {name: make_pool("pqrrrr") for name in "ab"}
    rng = np.random.default_rng(np.random.SeedSequence([5, 7, 2]))
    task = "ab"[rng.choice(2, p=[0.5, 0.5])]
    for _ in range(32):
        rng.permutation(3)
    ours = np.sort(rng.permutation(6)[:3])
    drawn = [*rng.choice(ours, 3, replace=False), *rng.choice(np.setdiff1d(np.arange(6), ours), 3, replace=False)]
    seeds = rng.integers(2**32, size=6)
    plan = sampler(pools, seed=5, support=3, query=3).plan(7, 2)
    found = [(p.source, p.row, p.seed) for p in (*plan.support, *plan.query)]
    assert found == [(task, 100 + row, seed) for row, seed in zip(drawn, seeds, strict=True)]
    assert (plan.task, len(plan.support), len(plan.query)) == (task, 3, 3)


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


@pytest.mark.parametrize(
    ("support", "query", "patients"),
    [(2, 6, "ppqqrrss"), (6, 2, "ppqqrrss"), (1, 9, 5 * "pqr"), (9, 1, 5 * "pqr")],
)
def test_patients_are_divided_as_images_are(support, query, patients):
    """Each side just fills: of four patients one or three, and of three at least one for the side of a single image."""
    pool = make_pool(patients)
    for step in range(50):
        plan = sampler({"a": pool}, support=support, query=query).plan(step, 0)
        assert (len(rows(plan.support)), len(rows(plan.query))) == (support, query)  # No image twice.
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


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"nope": 1.0}, "weight for nope; the tasks are a, b"),
        ({"a": -0.5, "b": 3.0}, "-0.5"),
        ({"a": 0.0}, "0.0"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights, message):
    pools = {name: make_pool("pqrs") for name in "ab"}
    with pytest.raises(ConfigError, match=message):
        sampler(pools, weights=weights)


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
            assert episode.query.keys == tuple(keys[p.row] for p in plan.query)
            assert episode.query.images.shape == (2, 32, 32, 3)
    loader.close()


def test_a_loader_begins_with_step_0(dataset):
    draw = sampler({name: pool_of(dataset, name) for name in dataset.sources})
    loader = episode_loader(dataset, Data(patch_px=32), draw, place=Place())
    assert [episode.task for episode in next(loader).episodes] == [draw.plan(0, number).task for number in range(4)]
    loader.close()


def test_a_pool_has_the_training_rows_and_whose_they_are(dataset):
    for source, index in dataset.sources.items():
        pool, chosen = pool_of(dataset, source), dataset.training_rows(source).tolist()
        assert pool.rows.tolist() == chosen
        for numbers, names in ((pool.image, index.samples.image), (pool.patient, index.samples.patient)):
            assert len(set(zip(numbers.tolist(), [names[row] for row in chosen], strict=True))) == len(
                set(numbers.tolist())
            )
            assert set(numbers.tolist()) == set(range(len({names[row] for row in chosen})))
