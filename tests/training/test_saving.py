"""A training goes on while its store takes a checkpoint, and ends when the store does not."""

import threading
import time

import pytest

from histoseg.errors import StorageError
from histoseg.store.objects import FileStore
from histoseg.training import loop
from histoseg.training.checkpoint import Checkpoint, Checkpoints, Saving
from histoseg.training.process import Process
from tests.stages import train_first

LONG_S = 10.0  # Only a test that fails waits so long.


class WatchedStore(FileStore):
    """A store that does something before it takes a checkpoint's tensors."""

    def __init__(self, root, before_put):
        super().__init__(root)
        self.before_put = before_put

    def put(self, key, body):
        if key.endswith(".safetensors"):
            self.before_put(key)
        super().put(key, body)


@pytest.fixture
def eager(monkeypatch):
    """Save at every step; the run has four."""
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)


@pytest.fixture
def steps(monkeypatch):
    """An event for each step, set when it is taken."""
    taken, take_step = [threading.Event() for _ in range(5)], loop.take_step

    def watched(*arguments):
        taken[int(arguments[-1].rpartition(" ")[2])].set()
        return take_step(*arguments)

    monkeypatch.setattr(loop, "take_step", watched)
    return taken


def refuse(key):
    raise StorageError(f"{key}: no")


def test_steps_go_on_while_the_store_takes_a_checkpoint(dataset, tiny_run, tmp_path, eager, steps):
    went_on = []
    store = WatchedStore(tmp_path / "runs", lambda key: went_on.append(step_after(key).wait(LONG_S)))

    def step_after(key):
        return steps[min(int(key[-len("1.safetensors")]) + 1, 4)]

    train_first(tiny_run, dataset, Checkpoints(store, "run", keep=9))
    assert went_on == [True] * 4
    assert Checkpoints(store, "run").steps() == [1, 2, 3, 4]


@pytest.mark.parametrize("saved_from", [1, 4])
def test_a_store_that_takes_none_ends_the_training(dataset, tiny_run, tmp_path, steps, monkeypatch, saved_from):
    """The second step hears of the first's checkpoint; the training's end hears of the last one."""
    take_step = loop.take_step

    def save_after(*arguments):
        loss = take_step(*arguments)
        monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0 if steps[saved_from].is_set() else 60.0)
        return loss

    monkeypatch.setattr(loop, "take_step", save_after)
    store = WatchedStore(tmp_path / "runs", refuse)
    with pytest.raises(StorageError, match="safetensors: no"):
        train_first(tiny_run, dataset, Checkpoints(store, "run"))
    assert sum(taken.is_set() for taken in steps) == min(saved_from + 1, 4)
    assert store.list() == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("saving")]


def test_a_reclaimed_machine_takes_no_step_before_all_is_saved(dataset, tiny_run, tmp_path, steps, monkeypatch):
    monkeypatch.setattr(loop, "ASK_EVERY_STEPS", 2)
    monkeypatch.setattr(loop, "RECLAIMED_CHECKPOINT_EVERY_S", 0.0)
    hurried = []
    store = WatchedStore(tmp_path / "runs", lambda _: hurried.append(steps[3].wait(0.3)))
    checkpoints = Checkpoints(store, "run", keep=9)
    train_first(tiny_run, dataset, checkpoints, Process(is_reclaimed=lambda: True))
    assert checkpoints.steps() == [2, 3, 4]
    assert hurried == [False, True, True]  # Step 3 had been taken when 3 and 4 were saved.


def save_and(do, write):
    with Saving(write) as saving:
        saving.begin(Checkpoint(step=1, tensors={}, state={}))
        do(saving)


def test_an_error_of_the_training_comes_before_one_of_its_last_checkpoint():
    def fail(saving):
        raise RuntimeError("of the training")

    with pytest.raises(RuntimeError, match="of the training"):
        save_and(fail, refuse)


def test_an_error_is_heard_at_one_of_the_next_steps():
    def go_on(saving):
        for _ in range(100):
            saving.check()
            time.sleep(LONG_S / 100)
        pytest.fail("went on")

    with pytest.raises(StorageError, match="no"):
        save_and(go_on, refuse)
