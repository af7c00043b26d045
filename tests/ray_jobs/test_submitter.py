"""The submitter of a RayJob submits once and stays until the job has ended, whatever happens to its connections."""

import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from histoseg.errors import ClusterError
from ray_jobs import submitter
from ray_jobs.jobs_api import RayJobs
from tests.ray_jobs.test_jobs_api import AWAY, BROKEN, PACE, TAKEN, Dashboard

ENTRYPOINT = "python -m ray_jobs.driver '--set=a=(1,2)'"


@pytest.fixture
def attend(monkeypatch, capsys):
    """Attends the job `x` of a dashboard; gives what was printed."""

    def do(dashboard):
        dashboard.name = "x"
        monkeypatch.setattr(RayJobs, "client", lambda _self: dashboard)
        submitter.attend("http://host:8265", "x", ENTRYPOINT, PACE)
        return capsys.readouterr().out.splitlines()

    return do


def test_what_ray_does_not_have_is_submitted_once_with_its_entrypoint(attend, monkeypatch):
    dashboard, asked = Dashboard(["", "RUNNING", "SUCCEEDED"], [["one\n"]], "one\n"), []
    monkeypatch.setattr(dashboard, "submit_job", lambda **words: asked.append(words))
    assert attend(dashboard) == ["one"]
    assert asked == [{"entrypoint": ENTRYPOINT, "submission_id": "x"}]


@pytest.mark.parametrize("end", ["SUCCEEDED", "FAILED", "STOPPED"])
def test_a_job_that_has_ended_is_an_end_however_it_ended(attend, end):
    """The first submitter's node was lost, and Kubernetes made another pod."""
    dashboard = Dashboard([end], [], "one\ntwo\n")
    assert attend(dashboard) == ["one", "two"]
    assert dashboard.done == []


@pytest.mark.parametrize("last", [BROKEN, ""])  # a server that is told to stop closes its connections in good order
def test_a_log_that_closes_while_the_job_runs_is_continued(attend, last):
    connections = [["one\n", last], ["one\n", last], ["one\n", "two\n"]]
    states = ["RUNNING", "RUNNING", "RUNNING", "RUNNING", "SUCCEEDED"]
    assert attend(Dashboard(states, connections, "one\ntwo\nthe table\n")) == ["one", "two", "the table"]


def test_a_dashboard_that_is_away_is_waited_for_before_and_after_the_submission(attend):
    shown = attend(Dashboard([AWAY, "", "RUNNING", AWAY, "SUCCEEDED"], [["one\n"]], "one\n"))
    assert [line for line in shown if not line.startswith("x: ")] == ["one"]
    assert all("cannot be seen now, trying again" in line for line in shown if line.startswith("x: "))


def test_of_two_submitters_both_stay(attend):
    dashboard = Dashboard(["", "RUNNING", "SUCCEEDED"], [["one\n"]], "one\n")
    dashboard.refusals = {"submit": TAKEN}
    assert "one" in attend(dashboard)


def test_a_job_that_ray_forgot_is_left_to_another_submitter(attend):
    with pytest.raises(ClusterError, match="knows no job x any more: its head was replaced"):
        attend(Dashboard(["RUNNING", "RUNNING", ""], [["one\n", BROKEN]]))


def test_a_dashboard_that_stays_away_is_an_error(attend):
    with pytest.raises(ClusterError, match=r"Failed to connect.*following ends"):
        attend(Dashboard([AWAY], []))


class Wire:
    """Forwards connections to a dashboard, and can cut them all."""

    def __init__(self, url):
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open, self._threads = [], []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)

    def _start(self, target, *arguments):
        self._threads.append(threading.Thread(target=target, args=arguments, daemon=True))
        self._threads[-1].start()

    def cut(self):
        for each in self._open:
            with suppress(OSError):  # Some have ended by themselves
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            there = socket.create_connection(self._target)
            self._open += [here, there]
            for source, target in ((here, there), (there, here)):
                self._start(self._copy, source, target)

    def _copy(self, source, target):
        try:
            while chunk := source.recv(1 << 16):
                target.sendall(chunk)
            target.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)  # Wakes the thread that waits for a connection
        self._listener.close()
        self.cut()
        for each in self._threads:
            each.join(5)
        for each in self._open:
            each.close()


@pytest.fixture
def wire(bare_ray):
    opened = Wire(bare_ray.address)
    yield opened
    opened.close()


@pytest.mark.slow
def test_connections_of_a_real_ray_that_are_cut(wire, bare_ray, tmp_path):
    """The job ends after the cut: it waits for a file."""
    done = tmp_path / "done"
    code = f"""if True:
        import pathlib, time
        print("one", flush=True)
        while not pathlib.Path({str(done)!r}).exists():
            time.sleep(0.1)
        print("two")
    """
    (tmp_path / "job.py").write_text(code)
    known = {submitter.DASHBOARD: wire.address, submitter.SUBMISSION: "cut"}
    command = [sys.executable, "-m", "ray_jobs.submitter", f"{sys.executable} {tmp_path / 'job.py'}"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env={**bare_ray.environment, **known}, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while "one\n" not in (tmp_path / "log").read_text():
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
        wire.cut()
        time.sleep(3.0)
        assert process.poll() is None
        done.touch()
        assert process.wait(90) == 0
    finally:
        process.kill()
        process.wait()
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line for line in lines if line in ("one", "two")] == ["one", "two"], lines


def test_a_pod_that_is_deleted_ends_at_once():
    """Python as PID 1 of a container ignores SIGTERM unless it handles it, so a pod would live out its grace period."""
    known = {submitter.DASHBOARD: "127.0.0.1:9", submitter.SUBMISSION: "x"}
    command = [sys.executable, "-u", "-m", "ray_jobs.submitter", "true"]
    with subprocess.Popen(command, env={**os.environ, **known}, stdout=subprocess.PIPE, text=True) as process:
        assert "cannot be seen now" in process.stdout.readline()
        process.terminate()
        assert process.wait(10) == 128 + 15
