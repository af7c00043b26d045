"""The whole job as a user starts it, and what it survives: real Ray, real S3, real kills."""

import json
import os
import signal
import time

import psutil
import pytest

from histoseg.store.objects import connect
from ray_jobs.local_store import local_store

pytestmark = pytest.mark.slow


def gone(processes, within_s):
    _, alive = psutil.wait_procs(processes, timeout=within_s)
    return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def read_records(folder):
    """All records, through a server on the job's own folder; how often each object was ever written is not kept."""
    with local_store(folder / ".histoseg" / "store") as server:
        store = connect(f"{server.url}/demo")
        return {key: json.loads(store.get(key)) for key in store.list("records/") if key.endswith(".json")}


def results_of(record):
    """All that a record says of a result, without where and how long it was computed."""
    stages = [{name: stage[name] for name in ("stage", "curve", "best_step")} for stage in record["stages"]]
    return {**{name: record[name] for name in ("name", "scores", "per_class", "sizes", "images")}, "stages": stages}


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    code, output = start(folder, "--listen", "tensorboard").finish()
    assert code == 0, output
    return folder, output, read_records(folder)


def test_the_last_line_is_the_page(undisturbed):
    folder, output, records = undisturbed
    page = folder / "results" / "smoke" / "index.html"
    assert output.splitlines()[-1] == str(page.resolve())
    assert len(records) == 2
    for record in records.values():
        assert f"{record['scores']['miou_pooled']:.3f}" in page.read_text()
    assert (page.parent / "smoke.csv").exists()
    assert "dashboard: http://127.0.0.1:" in output


def test_a_listener_hears_every_training(undisturbed):
    folder, output, _ = undisturbed
    trainings = {path.parent.name for path in (folder / ".histoseg/tensorboard/smoke").glob("*/*/events*")}
    assert {name.split("-")[0] for name in trainings} == {"pretrain", "refine"}
    assert f"TensorBoard: event files in {folder}/.histoseg/tensorboard/smoke/" in output


def test_secrets_are_not_in_the_output(undisturbed):
    folder, output, _ = undisturbed
    secret = json.loads((folder / ".histoseg/store/s3.json").read_text())["identities"][0]["credentials"][0]
    token = (folder / ".histoseg/ray/ray-token").read_text().strip()
    for word in (secret["secretKey"], token):
        assert word not in output
        assert word not in (folder / "results/smoke/index.html").read_text()


def test_repeating_it_starts_nothing_and_changes_nothing(start, undisturbed):
    folder, _, records = undisturbed
    code, output = start(folder).finish()
    assert code == 0, output
    assert "2 of 2 are recorded already" in output
    assert "dashboard" not in output
    assert read_records(folder) == records


def test_a_killed_worker_and_a_killed_driver_change_nothing(start, undisturbed, tmp_path):
    job = start(tmp_path / "killed")
    job.wait_for("pretrain synthetic")
    workers = [child for child in job.descendants() if "ImplicitFunc.train" in " ".join(child.cmdline())]
    assert workers
    workers[0].kill()
    job.wait_for("recorded: mIoU")
    children = job.descendants()
    job.process.kill()
    job.process.wait()
    assert not gone(children, within_s=30)
    code, output = start(tmp_path / "killed").finish()
    assert code == 0, output
    again = read_records(tmp_path / "killed")
    wanted = undisturbed[2]
    assert set(again) == set(wanted)
    for key, record in wanted.items():
        assert results_of(again[key]) == results_of(record)


def test_ctrl_c_ends_it_with_one_line_and_without_orphans(start, tmp_path):
    job = start(tmp_path / "interrupted")
    job.wait_for("dashboard")
    time.sleep(3)
    children = job.descendants()
    os.killpg(job.process.pid, signal.SIGINT)  # what a terminal sends: to the whole foreground group
    code, output = job.finish()
    assert code == 1
    assert output.splitlines()[-1] == "histoseg: interrupted; the same command goes on where this one was"
    assert not gone(children, within_s=30)
