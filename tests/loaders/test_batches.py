from collections import Counter
from itertools import islice

import numpy as np
import pytest

from histoseg.errors import DataError
from histoseg.loaders.batches import BatchSampler, batch_loader
from histoseg.runs.config import Data
from histoseg.types import Place

ROWS = {"a": np.arange(5), "b": np.arange(100, 140), "c": np.arange(200, 207)}


def sampler(**changes):
    return BatchSampler(**({"rows": ROWS, "batch": 4, "seed": 0} | changes))


def test_sources_are_truncated_to_the_smallest():
    owners, _ = sampler().epoch(0)
    assert Counter(owners.tolist()) == {0: 5, 1: 5, 2: 5}


def test_an_epoch_has_no_image_twice():
    owners, rows = sampler().epoch(3)
    assert len(set(zip(owners.tolist(), rows.tolist(), strict=True))) == 15


def test_the_truncation_is_drawn_afresh_each_epoch():
    chosen = [frozenset(rows[owners == 1].tolist()) for owners, rows in map(sampler().epoch, range(10))]
    assert len(set(chosen)) == 10


def test_every_image_is_reached():
    """The published loader draws one and the same image of each source, for ever."""
    drawn = {(plan.source, plan.row) for plans in islice(sampler().steps(0), 400) for plan in plans}
    assert drawn == {(name, int(row)) for name, rows in ROWS.items() for row in rows}


def test_a_step_is_a_pure_function_of_seed_and_number():
    later = list(islice(sampler().steps(0), 12))[9:]
    assert list(islice(sampler().steps(9), 3)) == later
    assert list(islice(sampler(seed=1).steps(9), 3)) != later


def test_steps_equal_their_definition():
    """Restated with NumPy alone: another release must draw the same patches for the same seed.

    SeedSequence [seed, 0, epoch] truncates and mixes the sources, [seed, 1, step, i] augments patch i of a step. Of 15
    patches an epoch has, step 3 takes the last three of epoch 0 and the first of epoch 1.
    """
    pool = []
    for epoch in (0, 1):
        rng = np.random.default_rng(np.random.SeedSequence([7, 0, epoch]))
        drawn = [(name, int(row)) for name, rows in ROWS.items() for row in rng.choice(rows, 5, replace=False)]
        pool += [drawn[i] for i in rng.permutation(15)]
    for first_step in (0, 3, 4):
        for step, plans in enumerate(islice(sampler(seed=7).steps(first_step), 2), start=first_step):
            assert [(plan.source, plan.row) for plan in plans] == pool[4 * step : 4 * step + 4]
            for i, plan in enumerate(plans):
                rng = np.random.default_rng(np.random.SeedSequence([7, 1, step, i]))
                assert plan.seed == rng.integers(2**32)


def test_a_loader_begins_with_step_0(dataset):
    draw = BatchSampler(rows={name: index.rows() for name, index in dataset.sources.items()}, batch=4, seed=0)
    loader = batch_loader(dataset, Data(patch_px=32), draw, place=Place())
    planned = next(draw.steps(0))
    assert next(loader).patches.keys == tuple(dataset.sources[plan.source].samples.key[plan.row] for plan in planned)
    loader.close()


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_ranks_together_have_the_batches_of_one_rank(dataset, world_size):
    rows = {name: index.rows() for name, index in dataset.sources.items()}
    draw, data = BatchSampler(rows=rows, batch=4, seed=0), Data(patch_px=32)
    alone = batch_loader(dataset, data, draw, place=Place(), first_step=2)
    ranks = [
        batch_loader(dataset, data, draw, place=Place(rank=rank, world_size=world_size), first_step=2)
        for rank in range(world_size)
    ]
    for _ in range(3):
        whole, shares = next(alone), [next(rank) for rank in ranks]
        for i, key in enumerate(whole.patches.keys):
            share = shares[i % world_size].patches
            assert share.keys[i // world_size] == key
            np.testing.assert_array_equal(share.images[i // world_size], whole.patches.images[i])
        assert {share.global_size for share in shares} == {4}
    for loader in (alone, *ranks):
        loader.close()


def test_an_empty_source_is_refused():
    with pytest.raises(DataError, match="no images to train on in b"):
        sampler(rows={"a": np.arange(3), "b": np.arange(0)})
