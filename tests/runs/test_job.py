import shlex

import pytest

from histoseg.errors import ConfigError
from histoseg.runs.job import MAX_NAME_CHARS, NAME, Job, results_folder


def job(**changed):
    return Job(**{"experiment": "table1", "store": "s3://bucket/lab", **changed})


def test_the_name_stands_for_all_that_a_result_depends_on():
    changes = [{"scale": "paper"}, {"seeds": 2}, {"sets": ("optim.lr=1",)}, {"data": "demo"}, {"store": "s3://other"}]
    names = {job(**change).name("image@sha256:1") for change in changes}
    names |= {job().name("image@sha256:1"), job().name("image@sha256:2")}
    assert len(names) == len(changes) + 2
    assert job().name("a") == job().name("a")


def test_how_many_workers_share_a_run_changes_no_name():
    assert job(workers=4).name("a") == job().name("a")
    assert job(workers=4) == job()


@pytest.mark.parametrize("experiment", ["table1", "cerberus_table4", "x" * 100, "My Lab's Own", "a-" * 30])
def test_every_name_is_one_for_kubernetes(experiment):
    name = job(experiment=experiment).name("a")
    assert NAME.fullmatch(name)
    assert len(name) <= MAX_NAME_CHARS


def test_the_entrypoint_survives_a_shell():
    asked = job(sets=("optim.lr=1e-3", "method.name='x y'"), data="/data/o'neill", workers=2, seeds=3)
    words = shlex.split(asked.entrypoint("table1-1", {"CPU": 8.0, "GPU": 2.0}))
    assert words[:5] == ["python", "-m", "ray_jobs.driver", "--name", "table1-1"]
    pairs = dict(zip(words[3::2], words[4::2], strict=True))
    assert pairs["--data"] == "/data/o'neill"
    assert pairs["--set"] == "optim.lr=1e-3 method.name='x y'"
    assert pairs["--capacity"] == "CPU=8,GPU=2"
    assert (pairs["--workers"], pairs["--seeds"], pairs["--store"]) == ("2", "3", "s3://bucket/lab")


def test_the_driver_takes_what_the_entrypoint_says():
    from ray_jobs.driver import capacity, parse

    asked = job(sets=("optim.steps=2",), workers=2)
    words = shlex.split(asked.entrypoint("n", {"CPU": 1.5}))[3:]
    parsed = parse(words)
    assert (parsed.experiment, parsed.name, parsed.set, parsed.workers) == ("table1", "n", "optim.steps=2", 2)
    assert capacity(parsed.capacity) == {"CPU": 1.5}
    with pytest.raises(ConfigError, match="write it as CPU=8,GPU=2"):
        capacity("CPU")


@pytest.mark.parametrize(
    ("field", "value"), [("seeds", 0), ("workers", 0), ("data", "relative/folder"), ("store", "file:///x")]
)
def test_what_cannot_be_is_refused(field, value):
    with pytest.raises(ConfigError, match=rf"job\.{field}"):
        job(**{field: value})


def test_results_lie_below_experiment_and_name():
    assert results_folder("table1", "table1-0") == "results/table1/table1-0"
