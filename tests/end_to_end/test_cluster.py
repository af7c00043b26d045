"""A job on a Ray of several nodes, through its jobs API, while everything that can die dies: real servers and kills."""

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from histoseg.pipeline.complete import complete
from histoseg.pipeline.plan import make_plan
from histoseg.store.keys import record_key
from histoseg.store.objects import connect
from histoseg.training.process import Process
from ray_jobs import submit
from tests.end_to_end.started import PATIENCE_S
from tests.end_to_end.submission import Submission
from tests.end_to_end.test_submit import results_of
from tests.monitoring.dashboards import panel_queries
from tests.monitoring.prometheus import NEEDS_PROMETHEUS, prometheus
from tests.ray_jobs.nodes import nodes
from tests.ray_jobs.restartable_store import restartable_store

pytestmark = pytest.mark.slow
ROOT = Path(submit.__file__).parents[1]
SETS = "optim.steps=900 refine.optim.epochs=1"  # Longer than the 15 s that a drained node has
STORE = "s3://histoseg/chaos"


def submitted(ray, folder, *words):
    """`make submit EXP=smoke` for this Ray."""
    asked = ["--experiment", "smoke", "--store", STORE, "--data", "demo", "--set", SETS]
    return Submission(ray, folder, *asked, *words)


def wait_until(claim):
    deadline = time.monotonic() + PATIENCE_S
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.3)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A store, and a Ray of a head and two workers that can reach it."""
    folder = tmp_path_factory.mktemp("cluster")
    patch = pytest.MonkeyPatch()
    with restartable_store(folder / "store") as store:
        for name, value in store.environment.items():
            patch.setenv(name, value)
        with nodes(folder / "ray", store.environment) as ray:
            ray.start_worker("one")
            ray.start_worker("two")
            yield store, ray
    patch.undo()


def node_of(ray, output, line):
    """The node on which the Ray worker runs that last printed a line with this text."""
    pid = int(re.findall(rf"training pid=(\d+).*?\).*{line}", output)[-1])
    return next(name for name in ray.running if pid in [process.pid for process in ray.processes(name)])


@pytest.fixture(scope="module")
def disturbed(cluster, tmp_path_factory):
    """A node was drained and killed, another killed while the store was away, then the driver was killed."""
    server, ray = cluster
    folder = tmp_path_factory.mktemp("submitter")
    store = connect(f"{STORE}/demo")
    with panels_looked_at(ray, folder / "prometheus") as shown:  # From the begin on, where cells are soon recorded
        first = submitted(ray, folder)
        first.wait_for("pretrain synthetic.maml  step")
        other = submitted(ray, folder)
        other.wait_for("is running already")
        other.process.kill()
        other.process.wait()

        drained = node_of(ray, first.output(), "pretrain synthetic.maml  step")
        drain(ray, drained, folder)
        saved = [key for key in store.list("runs/") if "/step-" in key]
        ray.kill(drained)
        ray.start_worker("three")
        first.wait_for("resumed at step")

        resumed = first.output().count("resumed at step")
        server.stop()
        back_at = time.monotonic() + 30
        ray.kill(node_of(ray, first.output(), "resumed at step"))
        ray.start_worker("four")
        time.sleep(max(0, back_at - time.monotonic()))
        server.start()
        wait_until(lambda: first.output().count("resumed at step") > resumed)
        for process in ray.processes("head"):
            if "ray_jobs.driver" in " ".join(process.cmdline()):
                process.kill()
        code, output = first.finish()
        assert code == 1, output
        with ThreadPoolExecutor(1) as pool:  # Only one of the workers has still something to do.
            quiet = pool.submit(complete_undisturbed, store, folder / "quiet")
            code, again = submitted(ray, folder).finish()
    assert code == 0, again
    return Outcome(folder=folder, saved=saved, output=output, again=again, shown=shown, quiet=quiet)


def complete_undisturbed(store, folder):
    """Complete the same cells from the same shards in this process; returns the plan and the store with its records."""
    quiet = connect(f"file://{folder}")
    for key in store.list("shards/"):
        quiet.put(key, store.get(key))
    plan = make_plan("smoke", quiet, "laptop", 1, SETS.split())
    for runs in plan.groups.values():
        complete(runs, quiet, folder / "cache", Process())
    return plan, quiet


def drain(ray, name, folder):
    """Have a node drained as its pod would be; an error shows what the command printed."""
    command = [sys.executable, "-m", "ray_jobs.drain", "--deadline-s", "15", "--node-id", ray.ids()[name]]
    address = {"RAY_ADDRESS": f"127.0.0.1:{ray.gcs}"}  # as KubeRay sets it
    done = subprocess.run(
        command, env={**ray.environment, **address}, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True)
class Outcome:
    folder: Path
    saved: list  # checkpoints that there were after the drain
    output: str  # of the submission whose driver was killed
    again: str  # of the next
    shown: dict  # whether each panel's query had a series at some time
    quiet: Future  # of what complete_undisturbed returns


@contextmanager
def panels_looked_at(ray, folder):
    """Have a Prometheus scrape the nodes meanwhile; gives which panels' queries about Ray have shown something."""
    shown, over = {}, threading.Event()
    looking = threading.Thread(target=look_at_panels, args=(ray, folder, shown, over), daemon=True)
    if shutil.which("prometheus"):
        looking.start()
    try:
        yield shown
    finally:  # A server that outlived its test would be left running.
        over.set()
        if looking.ident:
            looking.join()


def look_at_panels(ray, folder, shown, over):
    """Note in `shown` which panels' queries show something, until all do or it is over."""
    labels = {"namespace": "lab", "ray_io_cluster": "smoke"}
    # There is no GPU and no slide, the exporter has a test of its own, and of two cells none may be recorded between
    # two looks, which the time left is worked out from; tests/monitoring/test_panels.py has these.
    not_here = r'gpus|gram|Name="GPU"|histoseg_score|histoseg_slides|cells_recorded\{[^}]*\}\[6h'
    asked = [item for item in panel_queries() if "ray_" in item[2] and not re.search(not_here, item[2])]
    shown.update(dict.fromkeys(asked, False))
    agents = [ray.metrics_of(name) for name in ("head", "one", "two", "three", "four")]  # Two are still to come.
    with prometheus({"histoseg-ray": agents}, folder, labels) as server:
        while not over.wait(2) and not all(shown.values()):
            for item in [item for item in asked if not shown[item]]:
                shown[item] = bool(server.query(item[2]))


def test_a_drained_node_had_its_work_saved(disturbed):
    saved_at = int(re.search(r"a machine is about to be taken away; saving step (\d+)", disturbed.output)[1])
    assert any(key.endswith(".json") for key in disturbed.saved)
    assert int(re.search(r"resumed at step (\d+)", disturbed.output)[1]) >= saved_at


@NEEDS_PROMETHEUS
def test_dashboards_show_the_training(disturbed):
    assert len(disturbed.shown) > 10
    empty = {panel for (_, panel, _), seen in disturbed.shown.items() if not seen}
    assert not empty, empty


def test_a_killed_driver_is_told_in_one_line(disturbed):
    output = disturbed.output
    assert re.fullmatch(r"histoseg: smoke-[0-9a-f]{8}: failed: .*exit code.*", output.splitlines()[-1])


def test_the_table_is_that_of_an_undisturbed_run(disturbed):
    store, (plan, quiet) = connect(f"{STORE}/demo"), disturbed.quiet.result()
    keys = [record_key("smoke", cell) for cell in plan.cells]
    assert [key for key in store.list("records/") if key.endswith(".json")] == sorted(keys)
    for key in keys:
        disturbed_record, record = json.loads(store.get(key)), json.loads(quiet.get(key))
        assert results_of(disturbed_record) == results_of(record), key
        assert disturbed_record["attempt"] >= 1
        assert record["attempt"] == 0


def test_each_cell_was_recorded_once(disturbed):
    lines = {line for line in (disturbed.output + disturbed.again).splitlines() if " recorded: mIoU" in line}
    recorded = re.findall(r"run ([0-9a-f]{16}) recorded", "\n".join(lines))  # The second log begins with the first.
    assert len(recorded) == len(set(recorded)) <= 2


def test_results_are_left_in_the_store_and_fetched(cluster, disturbed):
    _, ray = cluster
    folder, again = disturbed.folder, disturbed.again
    name = re.search(r"^(smoke-[0-9a-f]{8}): ", again, re.MULTILINE)[1]
    assert again.splitlines()[-1] == f"{STORE}/demo/results/smoke/{name}/index.html"
    code, output = submitted(ray, folder, "--results").finish()
    assert code == 0, output
    page = Path(output.splitlines()[-1])
    assert page == folder / "results/smoke/index.html"
    assert "2 of 2 cells are finished" in page.read_text() + (page.parent / "smoke.md").read_text()


def test_a_finished_job_is_not_run_again(cluster, disturbed):
    _, ray = cluster
    code, output = submitted(ray, disturbed.folder).finish()
    assert code == 0
    assert "has finished already; RESULTS=1 fetches its table" in output
    assert "is running" not in output
    assert "succeeded" in submitted(ray, disturbed.folder, "--status").finish()[1]
    assert "forgotten, its results stay" in submitted(ray, disturbed.folder, "--cancel").finish()[1]
    assert "nothing to cancel" in submitted(ray, disturbed.folder, "--cancel").finish()[1]


def test_secrets_are_nowhere(cluster, disturbed):
    server, ray = cluster
    texts = [
        disturbed.output,
        disturbed.again,
        *(path.read_text() for path in (disturbed.folder / "results").rglob("*.html")),
    ]
    for secret in (server.secret, ray.token):
        assert not any(secret in text for text in texts)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"RAY_AUTH_TOKEN": "wrong"}, "it does not know this token; check RAY_AUTH_TOKEN"),
        ({"RAY_AUTH_TOKEN": None, "RAY_AUTH_MODE": None}, "it asks for a token: set RAY_AUTH_TOKEN"),
    ],
)
def test_a_wrong_token_is_one_clear_line(cluster, tmp_path, changed, message):
    _, ray = cluster
    asked = ["--experiment", "smoke", "--ray-address", ray.address, "--store", STORE, "--status"]
    done = subprocess.run(
        [sys.executable, "-m", "ray_jobs.submit", *asked],
        check=False,
        env={name: value for name, value in {**ray.environment, **changed}.items() if value is not None},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
