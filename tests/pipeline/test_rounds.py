"""Rounds of annotation as stages: each adds regions, the same on any number of ranks and when it is resumed."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from histoseg import distributed
from histoseg.annotate.cover import representatives
from histoseg.errors import CheckpointError, ConfigError
from histoseg.methods.multitask import MultiTask
from histoseg.models.cerberus import CerberusSpec
from histoseg.pipeline import rounds
from histoseg.pipeline.complete import open_dataset
from histoseg.pipeline.rounds import Round, read_chosen, sample_looks, stage_samples
from histoseg.pipeline.stage import train_stage
from histoseg.representation.pool import pooled
from histoseg.runs.config import Optim, Select, Stage
from histoseg.runs.names import from_json, stage_name, to_json
from histoseg.shards.in_memory import put_source
from histoseg.store.keys import chosen_key
from histoseg.store.objects import FileStore
from histoseg.training.process import Process
from tests.pipeline.small_runs import FOLDS, folds_run
from tests.scoring.ranks import on_two_ranks
from tests.small_store import make_task, squares_samples
from tests.stages import with_stage

REGIONS = 4


def make_run(choose="difficult", num_rounds=3, per_image=0, seed=0):
    stages = tuple(
        Stage(
            label=f"round{i}",
            method=MultiTask(batch=2),
            select=Select(
                sources=("cells",),
                splits=("fold1",),
                regions=REGIONS,
                choose=choose if i else "random",
                per_image=per_image,
            ),
            optim=Optim(lr=1e-3, steps=1),
        )
        for i in range(num_rounds)
    )
    whole = folds_run()
    return replace(whole, stages=stages, seed=seed, score=Select(sources=("cells",), splits=("fold3",)))


@pytest.fixture(scope="module")
def store_folder(tmp_path_factory):
    """Three images of nine tiles each to choose from."""
    store, rng = FileStore(tmp_path_factory.mktemp("rounds")), np.random.default_rng(0)
    splits = {"fold1": ["a", "b", "c"], "fold3": ["d"]}
    cells = {split: squares_samples(rng, keys, "instance", 2, side_px=96) for split, keys in splits.items()}
    put_source(store, make_task("cells", ("background", "cell"), "instance", "nuclei"), FOLDS, cells)
    return store.root


def copy_of(folder, target):
    return FileStore(shutil.copytree(folder / "shards", target / "shards").parent)


@pytest.fixture
def store(store_folder, tmp_path):
    """The same shards, with runs of its own."""
    return copy_of(store_folder, tmp_path / "store")


@pytest.fixture
def dataset(store, tmp_path):
    return open_dataset([make_run()], store, tmp_path / "cache")


def as_patched(tensor):
    """What `on_two_ranks` puts in the place of the sum, once it has."""
    return distributed.sum_over_ranks(tensor)


def new_network(run):
    return run.network.build({"cells": make_task("cells", ("background", "cell"), "instance", "nuclei")}, 0, 16).eval()


def chosen_keys(run, dataset, store, before=None, process=None):
    """The keys that each stage trains on, without training."""
    found = []
    for number in range(len(run.stages)):
        part = stage_samples(run, number, before if number else None, dataset, store, process or Process())
        found.append([part.sources["cells"].samples.key[row] for row in part.training_rows("cells")])
    return found


def test_each_round_adds_as_many_regions_and_keeps_those_before(dataset, store):
    run = make_run("random")
    first, second, third = map(set, chosen_keys(run, dataset, store))
    assert (len(first), len(second), len(third)) == (4, 8, 12)
    assert first < second < third
    notes = [read_chosen(run, number, dataset.checksums, store) for number in range(3)]
    assert [note.added for note in notes] == [4, 4, 4]
    assert {note.pixels for note in notes} == {4 * 32 * 32}


def test_the_most_difficult_regions_are_added(dataset, store):
    """The mean of the network's own map over each tile, sorted here."""
    run = make_run(num_rounds=2)
    network = new_network(run)
    first, second = chosen_keys(run, dataset, store, network)
    part = dataset.select(run.stages[1].select, 0)
    samples = part.sources["cells"].samples
    scores = {}
    for rows in part.images("cells", "fold1").values():
        image = part.whole_image("cells", rows).image
        found = run.network.difficulty(network, image, run.evaluator, "nuclei")
        for row in rows:
            top, left = samples.top[row], samples.left[row]
            scores[samples.key[row]] = found[top : top + 32, left : left + 32].mean()
    left = sorted(set(scores) - set(first), key=lambda key: -scores[key])
    assert set(second) - set(first) == set(left[:REGIONS])


def test_representative_regions_are_added(dataset, store):
    """Those that `representatives` names of each tile's difficulty and features, the first round's being annotated."""
    run = make_run("representative", num_rounds=2)
    network = new_network(run)
    first, second = chosen_keys(run, dataset, store, network)
    part = dataset.select(run.stages[1].select, 0)
    samples = part.sources["cells"].samples
    rows = part.training_rows("cells").tolist()
    difficulties, features = [], []
    for row in rows:
        image = part.whole_image("cells", [other for other in rows if samples.image[other] == samples.image[row]]).image
        square = slice(samples.top[row], samples.top[row] + 32), slice(samples.left[row], samples.left[row] + 32)
        difficulties.append(run.network.difficulty(network, image, run.evaluator, "nuclei")[square].mean())
        features.append(pooled(network, image[square][None])[0])
    annotated = [i for i, row in enumerate(rows) if samples.key[row] in first]
    chosen = representatives(np.array(difficulties, np.float64), np.stack(features), REGIONS, annotated)
    assert set(second) - set(first) == {samples.key[rows[i]] for i in chosen}


def test_one_image_does_not_take_all(dataset, store):
    run = make_run("random", num_rounds=1, per_image=2)
    (keys,) = chosen_keys(run, dataset, store)
    samples = dataset.sources["cells"].samples
    image_of = dict(zip(samples.key, samples.image, strict=True))
    images = [image_of[key] for key in keys]
    assert max(images.count(image) for image in images) == 2


def test_all_that_is_left_is_taken_in_the_end(dataset, store):
    sizes = [len(keys) for keys in chosen_keys(make_run("random", num_rounds=8), dataset, store)]
    assert sizes == [4, 8, 12, 16, 20, 24, 27, 27]


def test_another_seed_chooses_other_regions(dataset, store):
    assert chosen_keys(make_run("random"), dataset, store) != chosen_keys(make_run("random", seed=1), dataset, store)


def test_what_was_chosen_is_kept_when_a_stage_is_resumed(dataset, store, monkeypatch):
    """Also on a machine whose network finds other regions difficult."""
    run = make_run(num_rounds=2)
    network = new_network(run)
    before = chosen_keys(run, dataset, store, network)
    monkeypatch.setattr(CerberusSpec, "difficulty", lambda *_: np.random.default_rng().random((96, 96), np.float32))
    assert chosen_keys(run, dataset, store, network) == before


def test_two_ranks_choose_as_one(dataset, store, monkeypatch):
    run = make_run("representative", num_rounds=2)
    network = new_network(run)
    part = dataset.select(run.stages[1].select, 0)

    def looks(process):
        return sample_looks(Round(run=run, number=1, before=network, part=part, process=process))

    alone = looks(Process())
    monkeypatch.setattr(rounds, "sum_over_ranks", as_patched)
    both = on_two_ranks(monkeypatch, looks)
    assert alone.difficulties.shape == (27,)
    assert len(set(alone.difficulties.tolist())) > 20
    assert alone.features.std(axis=0).any()
    for found in both:
        assert np.array_equal(found.difficulties, alone.difficulties)
        assert np.array_equal(found.features, alone.features)


def test_ranks_that_see_different_stores_train_on_what_the_leading_one_chose(dataset, store, tmp_path, monkeypatch):
    run = make_run("random", num_rounds=1)
    other = FileStore(tmp_path / "other")
    mine = {"regions": [{"source": "cells", "key": dataset.sources["cells"].samples.key[0]}], "added": 1, "pixels": 1}
    other.put(chosen_key(stage_name(run, 0, dataset.checksums)), json.dumps(mine).encode())

    def keys(process):
        return chosen_keys(run, dataset, store if process.leads else other, None, process)

    monkeypatch.setattr(rounds, "sum_over_ranks", as_patched)
    leading, second = on_two_ranks(monkeypatch, keys)
    assert leading == second
    assert len(leading[0]) == REGIONS


def test_an_interrupted_loop_ends_as_an_uninterrupted_one(dataset, store, tmp_path):
    run = make_run(num_rounds=2)
    elsewhere = copy_of(store.root, tmp_path / "elsewhere")

    def network_after(target, interrupt):
        first = train_stage(run, 0, None, dataset, target, Process()).model
        if interrupt:  # After the choice, before the first step; the first stage is then read from its folder.
            stage_samples(run, 1, first, dataset, target, Process())
            first = train_stage(run, 0, None, dataset, target, Process()).model
        return train_stage(run, 1, first, dataset, target, Process()).model.state_dict()

    whole, resumed = network_after(store, False), network_after(elsewhere, True)
    assert all((whole[name] == resumed[name]).all() for name in whole)


def test_the_choice_names_the_stage_and_the_windows_of_a_difficult_one(dataset):
    run, chance = make_run(), make_run("random")
    names = [[stage_name(one, number, dataset.checksums) for number in range(3)] for one in (run, chance)]
    assert names[0][0] == names[1][0]  # The first round is the same.
    assert not set(names[0][1:]) & set(names[1][1:])
    other = replace(run, evaluator=replace(run.evaluator, margin_px=8))
    assert stage_name(other, 0, dataset.checksums) == names[0][0]
    assert stage_name(other, 1, dataset.checksums) != names[0][1]
    assert from_json(to_json(run)) == run


def test_a_damaged_choice_is_refused(dataset, store):
    run = make_run("random", num_rounds=1)
    store.put(chosen_key(stage_name(run, 0, dataset.checksums)), b"{}")
    with pytest.raises(CheckpointError, match=r"chosen\.json is damaged"):
        chosen_keys(run, dataset, store)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"regions": -1}, "select.regions"),
        ({"regions": 0, "choose": "difficult"}, "select.regions"),
        ({"regions": 0, "per_image": 2}, "select.regions"),
        ({"per_image": -1}, "select.per_image"),
        ({"choose": "difficult"}, "round0.select.choose"),
    ],
)
def test_what_cannot_be_chosen_is_refused(change, path):
    run = make_run()
    with pytest.raises(ConfigError, match=re.escape(path)):
        with_stage(run, select=replace(run.stages[0].select, **change))


def test_scores_are_never_of_chosen_regions():
    with pytest.raises(ConfigError, match=r"score\.regions"):
        replace(make_run(), score=Select(sources=("cells",), splits=("fold3",), regions=2))
