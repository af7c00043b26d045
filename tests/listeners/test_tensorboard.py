"""Event files as TensorBoard itself reads them."""

import os

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from histoseg.listeners import tensorboard
from tests.training.test_listening import context, status  # noqa: F401 # a fixture

LABEL = "refine glas from all Maml"


def read(folder):
    """The points of each scalar, as TensorBoard shows them."""
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return {
        name: [(point.step, point.value) for point in accumulator.Scalars(name)]
        for name in accumulator.Tags()["scalars"]
    }


def train(context, steps, argument=""):  # noqa: F811 # not the fixture
    listener = tensorboard.listen(argument, context)
    for step in steps:
        listener.on_status(status(step, loss=step / 8))
    listener.on_status(status(1, label=LABEL))
    listener.close()


def test_each_training_is_a_run_of_its_own(context):  # noqa: F811 # a fixture
    train(context, [1, 2])
    folder = context.home / "tensorboard" / "smoke" / "0123abcd"
    assert sorted(path.name for path in folder.iterdir()) == ["pretrain-x", "refine-glas-from-all-Maml"]
    assert read(folder / "pretrain-x") == {
        "loss": [(1, 0.125), (2, 0.25)],
        "images_per_s": [(1, 3.0), (2, 3.0)],
        "loader_wait": [(1, 0.25), (2, 0.25)],
    }


def test_event_files_outlive_the_machine_in_the_store(context, tmp_path):  # noqa: F811 # a fixture
    train(context, [1, 2])
    assert read(tmp_path / "store/tensorboard/smoke/0123abcd/pretrain-x")["loss"] == [(1, 0.125), (2, 0.25)]


def test_a_folder_that_is_named_is_the_only_place(context, tmp_path, caplog):  # noqa: F811 # a fixture
    caplog.set_level("INFO")
    train(context, [1], str(tmp_path / "events"))
    assert read(tmp_path / "events/smoke/0123abcd/pretrain-x")["loss"] == [(1, 0.125)]
    assert f"{tmp_path}/events/smoke/0123abcd" in caplog.text
    assert context.store.list() == []
    assert not (context.home / "tensorboard").exists()


def test_steps_that_are_taken_again_are_shown_once(context):  # noqa: F811 # a fixture
    train(context, [1, 2, 3])
    folder = context.home / "tensorboard" / "smoke" / "0123abcd" / "pretrain-x"
    (first,) = folder.iterdir()
    os.utime(first, (0, 0))
    train(context, [2, 3, 4])
    assert [step for step, _ in read(folder)["loss"]] == [1, 2, 3, 4]


def test_without_its_package_it_is_refused_in_time(monkeypatch):
    monkeypatch.setattr(tensorboard, "find_spec", lambda _name: None)
    with pytest.raises(tensorboard.ConfigError, match=r"histoseg\[train\]"):
        tensorboard.require("")
