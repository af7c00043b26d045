"""An interrupted training ends with the same numbers as one that was not."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from histoseg.errors import CheckpointError, DataError, TrainingError
from histoseg.methods.maml import Maml
from histoseg.methods.transfer import Transfer
from histoseg.models.unet.network import build
from histoseg.pipeline import complete as completing
from histoseg.pipeline.complete import complete, open_dataset
from histoseg.pipeline.stage import train_stage
from histoseg.records.schema import Record
from histoseg.runs.names import stage_name
from histoseg.scoring.pixels import Pixels
from histoseg.store.objects import connect
from histoseg.training import listeners, loop
from histoseg.training.checkpoint import Checkpoint, Checkpoints, restore, tensors_of
from histoseg.training.process import Process
from tests.stages import train_first, with_stage


class Interrupted(Exception):
    """What a kill looks like from inside."""


@pytest.fixture
def store(tmp_path):
    return connect(f"file://{tmp_path / 'runs'}")


@pytest.fixture
def eager(monkeypatch):
    """Save and speak at every step."""
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(listeners, "LOG_EVERY_S", 0.0)


def stop_at(step, label="pretrain"):
    def on_status(status):
        if status.step == step and status.label.startswith(label):
            raise Interrupted

    return Process(listeners=(SimpleNamespace(on_status=on_status, close=lambda: None),))


@pytest.mark.parametrize(("precision", "is_rough"), [("fp32", False), ("bf16", True)])
def test_float32_is_float32_on_a_gpu_unless_bfloat16_would_do(dataset, tiny_run, store, precision, is_rough):
    run = with_stage(tiny_run, optim={"precision": precision, "steps": 0})
    train_first(run, dataset, Checkpoints(store, "run"))
    assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is is_rough


@pytest.mark.parametrize("method", ["maml", "transfer"])
def test_resumed_pretraining_ends_with_the_same_weights(dataset, tiny_run, store, eager, method):
    run = tiny_run if method == "maml" else with_stage(tiny_run, method=Transfer(batch=3))
    whole = train_first(run, dataset, Checkpoints(store, "whole"))
    checkpoints = Checkpoints(store, "broken")
    with pytest.raises(Interrupted):
        train_first(run, dataset, checkpoints, stop_at(3))
    assert checkpoints.steps()[-1] == 2  # step 3 was taken and lost
    resumed = train_first(run, dataset, checkpoints)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    assert resumed.curve == whole.curve


@pytest.fixture
def new_store(prepared, tmp_path):
    """Makes stores with the shards and nothing else."""

    def make(name):
        store = connect(f"file://{tmp_path / name}")
        for key in prepared.list("shards/"):
            store.put(key, prepared.get(key))
        return store

    return make


def record_of(run, store, tmp_path, process=None):
    (key,) = complete([run], store, tmp_path / "cache", process or Process())
    return Record.model_validate_json(store.get(key))


def numbers_of(record):
    """All that does not depend on when and where it was computed, as text, in which nan equals nan."""
    stages = [stage.model_copy(update={"seconds": 0.0}) for stage in record.stages]
    same = {"stages": tuple(stages), "seconds": {}, "finished_at": ""}
    return json.loads(record.model_copy(update=same).model_dump_json())


@pytest.mark.parametrize("broken_at", ["pretrain", "refine", "score"])
def test_a_resumed_run_has_the_same_record(tiny_run, new_store, tmp_path, eager, monkeypatch, broken_at):
    whole = record_of(tiny_run, new_store("whole"), tmp_path)
    store, score = new_store("broken"), Pixels.score

    def refuse(*_):
        raise Interrupted

    monkeypatch.setattr(Pixels, "score", refuse if broken_at == "score" else score)
    with pytest.raises(Interrupted):
        record_of(tiny_run, store, tmp_path, stop_at(3, broken_at))
    monkeypatch.setattr(Pixels, "score", score)
    assert numbers_of(record_of(tiny_run, store, tmp_path)) == numbers_of(whole)


def test_a_finished_run_is_not_run_again(tiny_run, new_store, tmp_path, monkeypatch):
    store = new_store("again")
    first = complete([tiny_run], store, tmp_path / "cache", Process())
    body = store.get(first[0])
    monkeypatch.setattr(completing, "train_stage", lambda *_: pytest.fail("ran again"))
    assert complete([tiny_run], store, tmp_path / "cache", Process()) == first
    assert store.get(first[0]) == body


@pytest.mark.parametrize(("precision", "is_rough"), [("fp32", False), ("bf16", True)])
def test_a_finished_stage_computes_as_it_was_trained(dataset, tiny_run, store, monkeypatch, precision, is_rough):
    """Or else what is scored after an interruption would not be what is scored without one."""
    run = with_stage(tiny_run, method=Transfer(batch=1), optim={"steps": 1, "precision": precision})
    trained = train_stage(run, 0, None, dataset, store, Process())
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not is_rough)
    loaded = train_stage(run, 0, None, dataset, store, Process())
    assert store.list(f"runs/{stage_name(run, 0, dataset.checksums)}/step-") == []  # No step was taken again.
    assert loaded.model.bf16 is trained.model.bf16 is is_rough
    assert torch.backends.cudnn.allow_tf32 is is_rough
    assert (loaded.curve, loaded.best_step, loaded.seconds) == (trained.curve, trained.best_step, trained.seconds)
    assert all(torch.equal(value, trained.model.state_dict()[n]) for n, value in loaded.model.state_dict().items())


def test_tiles_too_small_for_the_augmentation_are_refused(prepared, tiny_run, tmp_path):
    wide = replace(tiny_run, data=replace(tiny_run.data, scale=(0.4, 1.2)))
    with pytest.raises(DataError, match=r"lies in tiles of 49 px, but this augmentation needs 98; `make submit`"):
        open_dataset([wide], prepared, tmp_path / "cache")


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(dataset, tiny_run, store, eager, monkeypatch):
    backward = Maml.backward
    calls = []

    def poisoned(method, model, batch):
        calls.append(1)
        return backward(method, model, batch) if len(calls) < 3 else float("nan")

    monkeypatch.setattr(Maml, "backward", poisoned)
    checkpoints = Checkpoints(store, "run")
    with pytest.raises(TrainingError, match=r"step 3: loss is nan; this rank's images: \w+"):
        train_first(tiny_run, dataset, checkpoints)
    assert checkpoints.steps() == [1, 2]


def test_a_gradient_that_is_no_number_stops_before_any_weight_is_changed(dataset, tiny_run, store, eager, monkeypatch):
    backward, weights = Maml.backward, []

    def poisoned(method, model, batch):
        loss = backward(method, model, batch)
        if len(weights) == 2:
            model.down[0][0].weight.grad[0, 0, 0, 0] = float("inf")
        weights.append((model, [parameter.detach().clone() for parameter in model.parameters()]))
        return loss

    monkeypatch.setattr(Maml, "backward", poisoned)
    checkpoints = Checkpoints(store, "run")
    with pytest.raises(TrainingError, match=r"step 3: loss is [\d.]+, but its gradient inf; this rank's images: \w+"):
        train_first(tiny_run, dataset, checkpoints)
    assert checkpoints.steps() == [1, 2]
    model, before = weights[-1]
    assert all(torch.equal(one, two) for one, two in zip(before, model.parameters(), strict=True))


def make_checkpoint(step):
    model = build_tiny()
    optimizer = torch.optim.Adam(model.parameters())
    return Checkpoint(step=step, tensors=tensors_of(model, optimizer), state={"note": step})


def build_tiny():
    return build(4, "group", {"a": 2}, 0)


def test_only_the_newest_checkpoints_are_kept(store):
    checkpoints = Checkpoints(store, "run", keep=2)
    for step in (5, 10, 15):
        checkpoints.save(make_checkpoint(step))
    assert checkpoints.steps() == [10, 15]
    assert len(store.list("run/")) == 4


def test_a_damaged_checkpoint_is_passed_over(store, caplog):
    checkpoints = Checkpoints(store, "run")
    for step in (5, 10):
        checkpoints.save(make_checkpoint(step))
    key = "run/step-00000010.safetensors"
    store.put(key, store.get(key)[:-4] + b"abcd")
    found = checkpoints.newest()
    assert found is not None
    assert found.step == 5
    assert "is damaged" in caplog.text


def test_tensors_without_their_json_are_no_checkpoint(store):
    checkpoints = Checkpoints(store, "run")
    checkpoints.save(make_checkpoint(5))
    store.delete("run/step-00000005.json")
    assert checkpoints.newest() is None


def test_a_checkpoint_of_another_model_is_refused_by_name(store):
    checkpoints = Checkpoints(store, "run")
    checkpoints.save(make_checkpoint(5))
    other = build(4, "group", {"b": 2}, 0)
    with pytest.raises(CheckpointError, match=r"heads\.a\.bias"):
        restore(other, torch.optim.Adam(other.parameters()), checkpoints.load(5))


def test_adam_resumes_exactly(store):
    model = build_tiny()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8))

    def step(model, optimizer):
        optimizer.zero_grad()
        model(images, "a").square().mean().backward()
        optimizer.step()

    step(model, optimizer)
    checkpoints = Checkpoints(store, "run")
    checkpoints.save(Checkpoint(step=1, tensors=tensors_of(model, optimizer), state={}))
    twin = build_tiny()
    other = torch.optim.Adam(twin.parameters(), lr=0.01)
    restore(twin, other, checkpoints.load(1))
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        for part in ("exp_avg", "exp_avg_sq"):
            # Adam makes its moments in the order of the parameter, and is slow where they have another.
            assert other.state[theirs][part].stride() == optimizer.state[mine][part].stride() == theirs.stride()
    for _ in range(3):
        step(model, optimizer)
        step(twin, other)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
