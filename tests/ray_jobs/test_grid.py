import json
import logging
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from socket import gethostname

import pytest

from histoseg.errors import ConfigError, StorageError, TrainingError
from histoseg.runs.names import to_json
from histoseg.runs.request import Request
from histoseg.store.holders import Holder
from histoseg.store.objects import connect
from ray_jobs import grid
from ray_jobs.train import Group
from tests.pipeline.small_runs import leave_one_out_run

pytestmark = [
    # Ray's own modules warn of their own old names, and leave sockets to the collector.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    # grid.run warns of nothing itself; Tune warns of settings for which it has no others.
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def test_as_many_runs_as_fit():
    workers = grid.Workers(num_workers=2, cpus=3)
    assert grid.num_concurrent({"CPU": 17}, workers) == 2  # 17 // 6
    assert grid.num_concurrent({"CPU": 64, "GPU": 5}, grid.Workers(num_workers=2, use_gpu=True)) == 2  # 5 // 2


def test_trials_that_wait_for_several_workers_need_memory():
    workers = grid.Workers(num_workers=2)
    assert grid.num_concurrent({"CPU": 64, "memory": 4 * 2**30}, workers) == 3  # 4096 // 1200
    assert grid.num_concurrent({"CPU": 64, "memory": 4 * 2**30}, grid.Workers()) == 64


ME = Holder(owner="job")


def group(name: str, store, does: str) -> Group:
    run = replace(leave_one_out_run(), row=name)
    return Group(
        id=name,
        runs=json.dumps([to_json(run)]),
        request=Request(experiment="table1", store=store.url),
        cache="/nonexistent",
        complete=f"ray_stand_in.{does}",
    )


@contextmanager
def logged(name: str):
    """The messages that a logger is given meanwhile; `caplog` lasts for one test only."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger(name).addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger(name).removeHandler(handler)


@pytest.fixture(scope="module")
def after(cluster, tmp_path_factory):
    """The store, the error and what was logged meanwhile, after one grid of groups of which some fail."""
    store = connect(f"file://{tmp_path_factory.mktemp('objects')}")
    kinds = {"refused": "refuse", "stumbling": "stumble", "killed": "die_thrice", "good": "record"}
    groups = [group(name, store, does) for name, does in kinds.items()]
    with pytest.raises(TrainingError) as caught, logged("histoseg.grid") as lines:
        grid.run(groups, grid.Workers(max_failures=1), tmp_path_factory.mktemp("notes"), {"CPU": 2.0}, ME)
    return store, str(caught.value), lines


@pytest.mark.slow
def test_a_failed_group_does_not_stop_the_others(after):
    store, _, _ = after
    assert store.list("records/") == ["records/good", "records/killed"]


@pytest.mark.slow
def test_the_error_names_each_failed_group_and_its_cause(after):
    _, text, _ = after
    assert text.splitlines() == [
        "2 of 4 groups failed, the others are recorded:",
        "  refused: ConfigError: optim.lr = 7: must be lower",
        "  stumbling: ZeroDivisionError: no such number",
    ]


@pytest.mark.slow
def test_each_failure_is_one_line_at_once(after):
    _, _, lines = after
    assert sorted(lines) == [
        *[f"group killed: its process on node {gethostname()} (127.0.0.1) was killed or crashed; it is tried again"]
        * 3,
        "group refused has failed, the others go on: ConfigError: optim.lr = 7: must be lower",
        "group stumbling has failed, the others go on: ZeroDivisionError: no such number",
        "group stumbling: ZeroDivisionError: no such number; it is tried again",
    ]


@pytest.mark.slow
def test_what_only_a_person_can_mend_is_tried_once(after):
    store, _, _ = after
    assert len(store.list("attempts/")) == 1
    assert len(store.list("stumbles/")) == 2  # max_failures=1: the first try and one more


@pytest.mark.slow
def test_a_killed_process_is_started_again(after):
    store, _, _ = after
    assert len(store.list("deaths/")) == 3  # More than max_failures=1 allows, because they do not count as failures.
    assert store.get("records/killed") == b"1"


@pytest.mark.slow
def test_several_workers_start_again_after_one_was_killed(cluster, tmp_path):
    store = connect(f"file://{tmp_path}/objects")
    groups = [group("killed", store, "die_thrice")]
    grid.run(groups, grid.Workers(num_workers=2, max_failures=6), tmp_path / "notes", {"CPU": 2.0}, ME)
    assert store.get("records/killed") == b"2"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "reported"),
    [
        (ConfigError("lower it"), [{"error": "ConfigError: lower it"}]),
        (StorageError("away"), []),
        (OSError("as when Ray Train's controller ends"), []),
    ],
)
def test_what_may_pass_by_itself_is_left_to_tune_to_try_again(cluster, error, reported, tmp_path, monkeypatch):
    from ray import tune  # Not at the top: `local_ray` sets variables that Ray reads when it is imported.

    def fail(*_):
        raise error

    told = []
    monkeypatch.setattr(grid, "leased", fail)
    monkeypatch.setattr(tune, "report", told.append)
    asked = group("monuseg", connect(f"file://{tmp_path}"), "record")
    with nullcontext() if reported else pytest.raises(type(error)):
        grid.training({"group": 0}, [asked], grid.Workers(), str(tmp_path), ME)
    assert told == reported
