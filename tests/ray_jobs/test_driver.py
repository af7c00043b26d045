"""What a job on a cluster's head does with what was asked of it, and leaves in the store."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from histoseg.errors import ConfigError, DataError
from histoseg.runs.config import Data
from histoseg.runs.request import Request
from histoseg.shards.prepare import Prepared
from histoseg.store.objects import FileStore, connect
from ray_jobs import driver


@pytest.fixture
def drive(tmp_path, monkeypatch):
    """Runs jobs on one head, each of which writes a page and a picture; gives the request, `out` and `home` of each."""
    monkeypatch.chdir(tmp_path)

    def do(name, *words):
        done = []

        def run(request, _store, _raw, out, home, _connect_ray):
            done.append((request, out, home))
            folder = out / request.experiment
            folder.mkdir(parents=True, exist_ok=True)
            for part in ("index.html", f"{name}.png"):
                (folder / part).write_text(name)
            return driver.Finished(report=SimpleNamespace(table="", page=folder / "index.html"), failure=None)

        monkeypatch.setattr(driver, "run", run)
        driver.main([f"--name={name}", "--experiment=smoke", f"--store=file://{tmp_path}/store", *words])
        return done[0]

    return do


def test_a_job_leaves_nothing_of_another_one_of_the_same_head(drive, tmp_path):
    for name in ("smoke-1", "smoke-2", "smoke-2"):
        drive(name)
    store = connect(f"file://{tmp_path}/store")
    parts = [
        f"results/smoke/{name}/{part}" for name in ("smoke-1", "smoke-2") for part in ("index.html", f"{name}.png")
    ]
    assert store.list("results/") == parts


def test_what_an_earlier_attempt_wrote_is_gone(drive, tmp_path):
    _, out, _ = drive("smoke-1")
    stale = next(tmp_path.glob(".histoseg/**/smoke-1.png")).with_name("stale.png")
    stale.write_text("")
    drive("smoke-1")
    assert "results/smoke/smoke-1/stale.png" not in connect(f"file://{tmp_path}/store").list()
    assert out == Path("results")  # The page names files as they lie where RESULTS=1 has copied them.


def test_shards_are_shared_by_the_jobs_of_a_head(drive, tmp_path):
    assert {drive(name)[2] for name in ("smoke-1", "smoke-2")} == {tmp_path / ".histoseg"}


def test_the_page_says_how_to_get_the_same_from_the_same_store(drive, tmp_path):
    """Without DATA, a run on one machine would draw demo data."""
    request, _, _ = drive("smoke-1", "--set=optim.steps=2", "--capacity=CPU=8")
    store = f"STORE=file://{tmp_path}/store"
    assert request.command == f"make submit EXP=smoke DATA=prepared {store} SET=optim.steps=2"


@pytest.mark.parametrize("words", [["--experiment=smoke", "--store=file:///x"], ["--experiment=smoke", "--name=a"]])
def test_a_job_needs_a_name_and_a_store(words):
    with pytest.raises(SystemExit, match=r"request\.name and store"):
        driver.main(words)


def test_an_unknown_listener_is_refused_before_anything_is_spent(tmp_path):
    request, store = Request(experiment="smoke", listen=("tensorbored",)), connect(f"file://{tmp_path}")
    with pytest.raises(ConfigError, match="no 'tensorbored' in listeners; choose from mlflow, tensorboard"):
        driver.run(request, store, None, tmp_path, tmp_path, None)


def test_what_only_prepare_can_do_is_followed_by_how_to_submit(tmp_path, monkeypatch):
    """A submission has no `--option`: prepared again without it, the source would be refused again."""

    fault, store = "glas: masks; prepare with --option instances=components", FileStore(tmp_path / "store")

    def prepare(outcome):
        monkeypatch.setattr(driver, "prepare_sources", outcome)
        return driver.prepare(Request(experiment="smoke"), tmp_path, store, Data())

    def refuse(*_):
        raise DataError(fault)

    with pytest.raises(DataError) as raised:
        prepare(refuse)
    said = f"{fault}; then submit with DATA=prepared STORE={store.url}"
    assert str(raised.value) == said
    others = {"indexes": {}, "absent": (), "failures": ()}
    assert prepare(lambda *_: Prepared(omissions=(fault, "glas: damaged"), **others)) == [said, "glas: damaged"]


def test_a_store_that_replaces_what_exists_is_refused_before_data_are_prepared(tmp_path, monkeypatch):
    monkeypatch.setattr(FileStore, "put_if_absent", lambda self, key, body: self.put(key, body) or True)
    monkeypatch.setattr(driver, "prepare", lambda *_: pytest.fail("was prepared"))
    with pytest.raises(ConfigError, match="replaced an existing object"):
        driver.run(Request(experiment="smoke"), connect(f"file://{tmp_path}"), tmp_path, tmp_path, tmp_path, None)
