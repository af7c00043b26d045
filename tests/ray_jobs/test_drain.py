import subprocess
import sys

import psutil
import pytest

from ray_jobs import drain


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


def test_no_ray_to_tell_is_one_line_and_soon_over(monkeypatch):
    """As when a whole cluster is deleted, and the head went first."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(drain, "ASK_AT_MOST_S", 3)
    with pytest.raises(SystemExit, match="this node could not be drained"):
        drain.main(["--deadline-s", "100"])
