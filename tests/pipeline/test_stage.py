"""One stage of a run: trained once, taken from its folder afterwards, refused where that is damaged."""

import json
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load, save

from histoseg.errors import CheckpointError, DataError
from histoseg.machine import git_commit, versions
from histoseg.models.starting import put_weights, store_weights
from histoseg.models.weights import load_model
from histoseg.pipeline import stage as staging
from histoseg.pipeline.complete import open_dataset
from histoseg.pipeline.stage import evaluator_of, label_of, train_stage
from histoseg.runs.config import Optim, Select
from histoseg.runs.names import from_json, stage_name
from histoseg.scoring.pixels import Pixels
from histoseg.training import loop
from histoseg.training.method import method_of
from histoseg.training.process import Process
from histoseg.types import Place
from tests.pipeline.kills import Killed, MortalStore, Point
from tests.pipeline.small_runs import (
    CELLS,
    folds_run,
    folds_store,
    leave_one_out_run,
    leave_one_out_store,
)


@pytest.fixture
def tasks(tmp_path):
    return leave_one_out_store(tmp_path / "store")


@pytest.fixture
def folds(tmp_path):
    return folds_store(tmp_path / "store")


@pytest.fixture
def stages_of(tmp_path):
    """The first stages of a run, one or all, each trained on the one before."""

    def stages_of(run, store, process=None, count=None):
        dataset = open_dataset([run], store, tmp_path / "cache")
        found = []
        for number in range(len(run.stages) if count is None else count):
            before = found[-1].model if found else None
            found.append(train_stage(run, number, before, dataset, store, process or Process()))
        return found

    return stages_of


@pytest.fixture
def name_of(tmp_path):
    return lambda run, store, number=0: stage_name(
        run, number, open_dataset([run], store, tmp_path / "cache").checksums
    )


@pytest.fixture
def trainings(monkeypatch):
    """Every training that begins."""
    found, train = [], staging.train

    def noted(model, training, *rest):
        found.append(training)
        return train(model, training, *rest)

    monkeypatch.setattr(staging, "train", noted)
    return found


def same_weights(one, two):
    first, second = one.state_dict(), two.state_dict()
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)


def test_a_finished_stage_is_taken_from_its_folder(tasks, stages_of, trainings):
    run = leave_one_out_run()
    first = stages_of(run, tasks)
    assert len(trainings) == 2
    again = stages_of(run, MortalStore(tasks, Point(0, "before")))  # Nothing is written for it either.
    assert len(trainings) == 2
    for one, two in zip(first, again, strict=True):
        assert same_weights(one.model, two.model)
        assert str(one.curve) == str(two.curve)  # In which an undefined score equals itself
        assert (one.best_step, one.seconds) == (two.best_step, two.seconds)


def test_a_finished_stage_leaves_its_network_and_no_checkpoint(tasks, stages_of, name_of, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
    run = leave_one_out_run()
    (pretrained,) = stages_of(run, tasks, count=1)
    folder = f"runs/{name_of(run, tasks)}"
    names = ("metrics.jsonl", "model/model.json", "model/model.safetensors", "run.json", "stage.json")
    assert tasks.list("runs/") == [f"{folder}/{name}" for name in names]
    about = json.loads(tasks.get(f"{folder}/model/model.json"))
    assert about["classes"] == {"first": ["background", "gland"], "second": ["background", "gland"]}
    # Stored as published, at 0.5 microns per pixel
    assert (about["mpp"], about["origin"]) == (0.5, "lab tiny, pretrain all_others.maml, seed 0")
    kept = load(tasks.get(f"{folder}/model/model.safetensors"))
    assert kept.keys() == pretrained.model.state_dict().keys()
    assert all(torch.equal(kept[name], value) for name, value in pretrained.model.state_dict().items())


def test_checkpoints_that_a_killed_process_left_are_deleted(tasks, stages_of, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
    run = leave_one_out_run()
    whole = MortalStore(tasks)
    stages_of(run, whole, count=1)
    done = tasks.list("runs/")
    for key in done:
        tasks.delete(key)
    marked = next(i for i, key in enumerate(whole.written) if key.endswith("stage.json"))
    with pytest.raises(Killed):
        stages_of(run, MortalStore(tasks, Point(marked, "after")), count=1)
    assert set(tasks.list("runs/")) > set(done)
    stages_of(run, tasks, count=1)
    assert tasks.list("runs/") == done


DAMAGES = {
    "half a mark": ("stage.json", lambda body: body[: len(body) // 2]),
    "a mark of another version": ("stage.json", lambda body: body.replace(b'"best_step"', b'"last_step"')),
    "half a network": ("model/model.safetensors", lambda body: body[: len(body) // 2]),
    "another file": ("model/model.safetensors", lambda _: save({"x": torch.zeros(1)})),
    "one number of the network": ("model/model.safetensors", lambda body: body[:-1] + bytes([body[-1] ^ 1])),
    "no network": ("model/model.safetensors", None),
    "no description of the network": ("model/model.json", None),
    "half a description": ("model/model.json", lambda body: body[: len(body) // 2]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_stage_is_refused_with_its_folder(tasks, stages_of, name_of, damage):
    run = leave_one_out_run()
    stages_of(run, tasks, count=1)
    folder, (name, change) = f"runs/{name_of(run, tasks)}", DAMAGES[damage]
    if change is None:
        tasks.delete(f"{folder}/{name}")
    else:
        tasks.put(f"{folder}/{name}", change(tasks.get(f"{folder}/{name}")))
    with pytest.raises(CheckpointError, match=rf"{tasks.url}/{folder} is damaged \(.+\); delete it to train"):
        stages_of(run, tasks, count=1)
    for key in tasks.list(f"{folder}/"):  # What the message says helps.
        tasks.delete(key)
    stages_of(run, tasks, count=1)


def test_a_folder_with_another_network_is_refused(tasks, stages_of, name_of):
    """Whole in itself, but with a head for another task."""
    run = leave_one_out_run()
    stages_of(run, tasks)
    first, second = (f"runs/{name_of(run, tasks, number)}" for number in (0, 1))
    for name in ("model/model.safetensors", "model/model.json"):
        tasks.put(f"{first}/{name}", tasks.get(f"{second}/{name}"))
    with pytest.raises(CheckpointError, match=rf"{first} is damaged \(.*heads\.first.*\); delete it to train"):
        stages_of(run, tasks, count=1)


@pytest.mark.parametrize("has_checkpoints", [True, False])
def test_a_stage_killed_before_its_mark_is_repeated(tasks, stages_of, name_of, trainings, monkeypatch, has_checkpoints):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0 if has_checkpoints else 1e9)
    run = leave_one_out_run()
    mark = f"runs/{name_of(run, tasks)}/stage.json"
    whole = MortalStore(tasks)
    (trained,) = stages_of(run, whole, count=1)
    for key in tasks.list("runs/"):
        tasks.delete(key)
    with pytest.raises(Killed):
        stages_of(run, MortalStore(tasks, Point(whole.written.index(mark), "before")), count=1)
    left = tasks.list("runs/")
    assert mark.replace("stage.json", "model/model.json") in left
    assert mark not in left
    assert any("step-" in key for key in left) is has_checkpoints
    (again,) = stages_of(run, tasks, count=1)
    assert len(trainings) == 3
    assert same_weights(again.model, trained.model)
    assert str(again.curve) == str(trained.curve)


@pytest.mark.parametrize(("others", "is_trained"), [(0, True), (1, False)])
def test_a_stage_that_not_every_rank_sees_finished_is_trained(
    tasks, stages_of, trainings, monkeypatch, others, is_trained
):
    """Else one rank would wait for the gradients of another that does not train."""
    run = leave_one_out_run()
    stages_of(run, tasks, count=1)
    trainings.clear()
    monkeypatch.setattr(staging, "sum_over_ranks", lambda votes: votes + others)
    stages_of(run, tasks, Process(place=Place(rank=1, world_size=2)), count=1)
    assert bool(trainings) is is_trained


def test_what_a_stage_is_made_from_is_written_before_its_first_step(tasks, stages_of, name_of, tmp_path):
    run = leave_one_out_run()
    with pytest.raises(Killed):
        stages_of(run, MortalStore(tasks, Point(1, "before")), count=1)
    (key,) = tasks.list("runs/")
    assert key == f"runs/{name_of(run, tasks)}/run.json"
    about = json.loads(tasks.get(key))
    assert from_json(about["run"]) == run
    assert about["checksums"] == open_dataset([run], tasks, tmp_path / "cache").checksums
    assert (about["git_commit"], about["versions"]) == (git_commit(), versions())


def test_stages_are_named_for_people():
    run = leave_one_out_run()
    assert label_of(run, 0) == "pretrain all_others.maml"  # Which other rows share
    assert label_of(run, 1) == "refine new all_others.maml"
    assert label_of(replace(run, stages=run.stages[:1]), 0) == "pretrain new all_others.maml"
    assert label_of(folds_run(), 0) == "train cerberus fold1 to fold3"
    assert label_of(folds_run(), 1) == "subtype cerberus fold1 to fold3"


def test_a_stage_trains_on_its_own_selection(tasks, stages_of, trainings):
    run = leave_one_out_run()
    stages_of(run, tasks)
    first, second = trainings
    assert list(first.dataset.sources) == ["first", "second"]
    assert len(first.dataset.training_rows("first")) == 3 + 2 + 3  # Of all splits: predecessors have no test.
    assert list(second.dataset.sources) == ["new"]
    assert len(second.dataset.training_rows("new")) == 3
    assert (first.label, second.label) == ("pretrain all_others.maml", "refine new all_others.maml")


def test_a_later_stage_draws_other_numbers_by_its_sources_and_seed(tasks, stages_of, trainings):
    run = leave_one_out_run()
    for seed in (0, 1):
        stages_of(replace(run, seed=seed), tasks)
    pretrain, refine, pretrain1, refine1 = (training.seed for training in trainings)
    assert (pretrain, pretrain1) == (0, 1)
    assert len({refine, refine1, 0, 1}) == 4


@dataclass(frozen=True, kw_only=True)
class Scripted:
    """An evaluator whose validation scores are given, an epoch each, and what it is asked."""

    scores: tuple[float, ...]
    asked: ClassVar[list] = []  # No field, as fields name a run.

    def validate(self, network, run, dataset, select, process):
        self.asked.append((select, list(dataset.sources)))
        return self.scores[len(self.asked) - 1]

    def score(self, network, run, dataset, process, pictures):
        raise NotImplementedError


def test_the_best_epoch_is_chosen_on_the_val_split_of_what_is_trained_on(tasks, stages_of, monkeypatch):
    monkeypatch.setattr(Scripted, "asked", [])
    run = leave_one_out_run()
    longer = replace(run.stages[1], optim=Optim(lr=1e-3, steps=0, epochs=3))
    run = replace(run, evaluator=Scripted(scores=(0.25, 0.75, 0.5)), stages=(run.stages[0], longer))
    _, refined = stages_of(run, tasks)
    assert Scripted.asked == [(Select(sources=("new",), splits=("val",)), ["first", "second", "new"])] * 3
    assert [point.score for point in refined.curve] == [0.25, 0.75, 0.5]
    assert refined.best_step == 2  # Epochs have one step each.


def test_refining_leaves_the_pretrained_network_alone(tasks, stages_of):
    run = leave_one_out_run()
    pretrained, refined = stages_of(run, tasks)
    (again,) = stages_of(run, tasks, count=1)
    assert same_weights(pretrained.model, again.model)
    assert set(refined.model.heads) == {"new"}
    assert set(pretrained.model.heads) == {"first", "second"}


def test_subtyping_leaves_every_other_number_as_it_was(folds, stages_of):
    trained, subtyped = stages_of(folds_run(), folds)
    before, after = trained.model.state_dict(), subtyped.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    new = [name for name in after if name not in before]
    assert new
    assert all(name.startswith("decoders.nuclei_type.") for name in new)
    assert [point.step for point in subtyped.curve] == [1, 2]


def test_classes_of_a_model_are_those_of_the_stages_so_far(folds, stages_of, name_of):
    run = folds_run()
    stages_of(run, folds)
    first, second = (load_model(folds.path(f"runs/{name_of(run, folds, number)}/model")) for number in (0, 1))
    assert set(first.classes) == {"tissue"}
    assert set(second.classes) == {"tissue", "nuclei_type"}
    assert second.classes["nuclei_type"] == CELLS


def test_subtyping_of_sources_with_other_classes_is_refused(folds, stages_of):
    run = folds_run()
    mixed = replace(run.stages[1], select=Select(sources=("cells", "tissue"), splits=("fold1",)))
    with pytest.raises(DataError, match="cells, tissue"):
        stages_of(replace(run, stages=(run.stages[0], mixed)), folds)


def test_named_weights_are_where_the_first_stage_begins(folds, stages_of, name_of):
    """Without a step, the network is what it began with; the stage after begins with that, not with the weights."""
    run = folds_run()
    stages_of(run, folds, count=1)
    name = put_weights(folds.path(f"runs/{name_of(run, folds)}/model"), folds)
    given = load(folds.get(f"weights/{name}.safetensors"))
    none = replace(run.stages[0], optim=Optim(steps=0))
    started = replace(run, network=replace(run.network, weights=name), stages=(none, run.stages[1]))
    first, second = stages_of(started, folds)
    assert all(torch.equal(first.model.state_dict()[key], value) for key, value in given.items())
    assert (first.best_step, first.curve) == (0, ())
    assert all(torch.equal(second.model.state_dict()[key], value) for key, value in given.items())


def test_named_weights_are_where_a_decoder_begins_that_a_later_stage_adds(folds, stages_of, name_of):
    """As where a model is trained on: without a step, the last stage leaves what was given."""
    run = folds_run()
    *_, last = stages_of(run, folds)
    name = put_weights(folds.path(f"runs/{name_of(run, folds, 1)}/model"), folds)
    first, second = (replace(stage, optim=Optim(steps=steps)) for stage, steps in zip(run.stages, (1, 0), strict=True))
    started = replace(run, network=replace(run.network, weights=name), stages=(first, second))
    before, after = (one.model.state_dict() for one in stages_of(started, folds))
    given = last.model.state_dict()
    assert all(torch.equal(after[key], before.get(key, value)) for key, value in given.items())
    assert not all(torch.equal(before[key], given[key]) for key in before)  # One step was taken.


def test_weights_that_do_not_fit_are_named(folds, stages_of):
    run = folds_run()
    name = store_weights({"encoder.stem.weight": torch.zeros(1)}, folds)
    with pytest.raises(CheckpointError, match=f"weights '{name}' lack encoder"):
        stages_of(replace(run, network=replace(run.network, weights=name)), folds)


def test_what_is_neither_evaluator_nor_method_is_refused_by_its_class():
    run = leave_one_out_run()
    assert evaluator_of(run) == Pixels(window_px=48, bootstrap=20)
    with pytest.raises(TypeError, match=r"Data .*lacks validate or score"):
        evaluator_of(replace(run, evaluator=run.data))
    with pytest.raises(TypeError, match=r"Data .*lacks network"):
        method_of(replace(run.stages[0], method=run.data))
