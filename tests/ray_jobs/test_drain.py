import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import psutil
import pytest

from ray_jobs import drain
from tests.ray_jobs.conftest import AT_ONCE
from tests.ray_jobs.nodes import nodes

# A Ray that ran in this process before leaves files to the collector, which may find them here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def titled(title):
    """A process that goes by this title, as Ray's do."""
    program = f"import ray._raylet, time; ray._raylet.setproctitle({title!r}); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


@pytest.mark.parametrize(
    ("title", "busy"),
    [
        ("ray::RayTrainWorker", True),
        ("ray::ImplicitFunc.train", True),
        ("ray::ImplicitFunc", False),
        ("ray::Segmenter.segment", True),
        ("ray::Segmenter", False),
        ("ray::IDLE", False),
        ("ray::DashboardAgent", False),
        ("ray::RuntimeEnvAgent", False),
        ("ray::PreemptionWatcher", False),
    ],
)
def test_only_what_runs_for_somebody_is_work(title, busy, monkeypatch):
    process = titled(title)
    monkeypatch.setattr(psutil, "process_iter", lambda fields: [seen(psutil.Process(process.pid))])
    try:
        assert drain.is_busy() is busy
    finally:
        process.kill()
        process.communicate()


def seen(process):
    process.info = {"cmdline": process.cmdline()}
    return process


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(drain, "HEAD_SILENT_S", 0.5)
    monkeypatch.setattr(drain, "ASK_AT_MOST_S", 0.5)


@pytest.fixture
def head(monkeypatch):
    """A port that accepts connections, as a head's does, named as KubeRay names it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")
        yield server


def pretend_to_ask(program, monkeypatch):
    monkeypatch.setattr(drain, "drain_command", lambda *_: [sys.executable, "-c", program])


def test_where_the_head_is_gone_there_is_nothing_to_wait_for(quick, head, monkeypatch):
    """As when a whole job is deleted: its head goes, and Ray keeps this node's trainings for another minute."""
    pretend_to_ask("", monkeypatch)
    monkeypatch.setattr(drain, "is_busy", lambda: True)
    threading.Timer(0.7, head.close).start()
    begin = time.monotonic()
    drain.main(["--deadline-s", "60"])
    assert 0.7 <= time.monotonic() - begin < 10


def test_a_head_that_was_never_there_ends_it_too(quick, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    pretend_to_ask("import time; time.sleep(60)", monkeypatch)
    begin = time.monotonic()
    drain.main(["--deadline-s", "60"])
    assert time.monotonic() - begin < 10


def test_with_a_head_the_work_has_the_whole_time(quick, head, monkeypatch):
    pretend_to_ask("", monkeypatch)
    monkeypatch.setattr(drain, "is_busy", lambda: True)
    begin = time.monotonic()
    drain.main(["--deadline-s", "2"])
    assert time.monotonic() - begin >= 2


@pytest.mark.parametrize(
    ("program", "said"), [("import sys; sys.exit(3)", "ended with 3"), ("input()", "did not answer within 0.5 s")]
)
def test_a_ray_that_does_not_drain_is_told_in_one_line(program, said, quick, head, monkeypatch):
    pretend_to_ask(program.replace("input()", "import time; time.sleep(60)"), monkeypatch)
    with pytest.raises(SystemExit, match=f"this node could not be drained: Ray {said}"):
        drain.main(["--deadline-s", "60"])


WORK = """
import ray, time
ray.init(address="auto")
print("started:", ray.get(ray.remote(num_cpus=1)(lambda: time.sleep(600)).remote()), flush=True)
"""


@pytest.fixture
def own_ray(tmp_path):
    """One whose head a test may end."""
    with nodes(tmp_path, AT_ONCE) as started:
        yield started


@pytest.mark.slow
@pytest.mark.parametrize(("what", "ray"), [("the driver is stopped", "bare_ray"), ("the head goes", "own_ray")])
def test_the_workers_of_a_deleted_job_end_at_once(what, ray, request, tmp_path):
    """As KubeRay deletes a RayJob: it stops the Ray job, and all pods get SIGTERM together. Ray alone took 52 s."""
    ray = request.getfixturevalue(ray)
    with ExitStack() as ended:
        ray.start_worker("one")
        ended.callback(lambda: "one" in ray.running and ray.kill("one"))
        environment = {**ray.environment, "RAY_ADDRESS": f"127.0.0.1:{ray.gcs}"}
        driver = ray.run(WORK)
        ended.callback(driver.wait)
        ended.callback(driver.kill)
        wait_until(lambda: titles(ray, "one"))
        command = [sys.executable, "-m", "ray_jobs.drain", "--deadline-s", "110", "--node-id", ray.ids()["one"]]
        begin = time.monotonic()
        hook = subprocess.Popen(command, env=environment, cwd=tmp_path)
        if what == "the head goes":
            ray.running["head"].terminate()
        else:
            driver.kill()
        assert hook.wait(100) == 0
        ray.running["one"].terminate()
        ray.running.pop("one").wait(100)
        assert time.monotonic() - begin < 20
        if what == "the head goes":
            ray.running.pop("head").wait(100)


def titles(ray, name):
    """The titles of a node's processes that do work."""
    lines = (" ".join(process.cmdline()) for process in ray.processes(name) if process.is_running())
    return " ".join(line for line in lines if line.startswith("ray::") and not line.startswith(drain.NO_WORK))


def wait_until(is_so, patience_s=60):
    deadline = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.2)
