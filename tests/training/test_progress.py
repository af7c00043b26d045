"""metrics.jsonl: one line for each step that was told, also of a training that was interrupted."""

import json

import pytest

from histoseg.store.objects import connect
from histoseg.training import listeners, loop
from histoseg.training.checkpoint import Checkpoints
from tests.stages import train_first, with_stage


@pytest.fixture
def eager(monkeypatch):
    """Save and speak at every step."""
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(listeners, "LOG_EVERY_S", 0.0)


def told(store):
    return [json.loads(line)["step"] for line in store.get("run/metrics.jsonl").splitlines()]


def test_steps_taken_again_are_told_once(dataset, tiny_run, tmp_path, eager):
    store = connect(f"file://{tmp_path / 'runs'}")
    train_first(with_stage(tiny_run, optim={"steps": 3}), dataset, Checkpoints(store, "run"))
    assert told(store) == [1, 2, 3]
    store.delete("run/step-00000003.json")  # A kill before it was written; the lines may be newer than the checkpoint.
    train_first(tiny_run, dataset, Checkpoints(store, "run"))
    assert told(store) == [1, 2, 3, 4]
