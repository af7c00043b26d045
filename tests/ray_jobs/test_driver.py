"""What a job on a cluster's head does with what was asked of it, and leaves in the store."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from histoseg.store.objects import connect
from ray_jobs import driver


@pytest.fixture
def drive(tmp_path, monkeypatch):
    """Runs jobs on one head, each of which writes a page and a picture; gives what it was to do and by what means."""
    monkeypatch.chdir(tmp_path)

    def do(name, *words):
        done = []

        def run(work, _store, means):
            done.append((work, means))
            folder = work.out / work.experiment
            folder.mkdir(parents=True, exist_ok=True)
            for part in ("index.html", f"{name}.png"):
                (folder / part).write_text(name)
            return driver.Done(report=SimpleNamespace(table="", page=folder / "index.html"), failure=None)

        monkeypatch.setattr(driver, "run", run)
        asked = ["--name", name, "--experiment", "smoke", "--scale", "laptop", "--store", f"file://{tmp_path}/store"]
        driver.drive(driver.parse([*asked, *words]))
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
    work, _ = drive("smoke-1")
    stale = next(tmp_path.glob(".histoseg/**/smoke-1.png")).with_name("stale.png")
    stale.write_text("")
    drive("smoke-1")
    assert "results/smoke/smoke-1/stale.png" not in connect(f"file://{tmp_path}/store").list()
    assert work.out == Path("results")  # The page names files as they lie where RESULTS=1 has copied them.


def test_each_job_has_notes_and_an_order_of_its_own_and_shards_are_shared(drive):
    one, two = (drive(name)[1] for name in ("smoke-1", "smoke-2"))
    assert one.notes != two.notes
    assert (one.job, two.job) == ("smoke-1", "smoke-2")
    assert one.cache == two.cache
    assert all(path.is_absolute() for path in (one.notes, one.cache))


def test_the_page_says_how_to_get_the_same_from_the_same_store(drive, tmp_path):
    """Without DATA, a run on one machine would draw demo data."""
    work, _ = drive("smoke-1", "--set", "optim.steps=2")
    store = f"STORE=file://{tmp_path}/store"
    assert work.command == f"make submit EXP=smoke SCALE=laptop DATA=prepared {store} SET=optim.steps=2"
