import http.client
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from histoseg.errors import StoreRefusedError
from histoseg.store.objects import FileStore

TOKEN = "very-secret"


class Dashboard(BaseHTTPRequestHandler):
    """Answers as Ray 2.60's dashboard does with a token: 401 without one, 403 with a wrong one."""

    mode, healthy, seen = "token", True, []

    def do_GET(self):
        given = self.headers.get("Authorization")
        self.seen.append((self.path, given))
        allowed = self.mode == "disabled" or given == f"Bearer {TOKEN}"
        status = 200 if allowed else 403 if given else 401
        if self.path == "/api/gcs_healthz":
            status = 200 if self.healthy else 503
        if self.mode == "redirect":
            status = 302
        self.send_response(status)
        self.send_header("Location", "http://elsewhere.example/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def dashboard(monkeypatch):
    monkeypatch.setattr(Dashboard, "seen", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Dashboard) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def bad(url, token=TOKEN):
    from histoseg.doctor.run import dashboard_checks

    found = list(dashboard_checks(url, token))
    assert not [check for check in found if TOKEN in check.found + check.advice]
    return {check.what: f"{check.found} -> {check.advice}" for check in found if not check.ok}


def test_a_dashboard_that_asks_for_its_token(dashboard):
    assert bad(dashboard) == {}
    asked = [("/api/gcs_healthz", None), ("/api/version", None), ("/api/version", f"Bearer {TOKEN}")]
    assert Dashboard.seen == asked


def test_without_a_token_at_hand_it_is_said(dashboard):
    from histoseg.doctor.run import dashboard_checks

    last = list(dashboard_checks(dashboard, ""))[-1]
    assert last.ok
    assert "RAY_AUTH_TOKEN is not set" in last.found


def test_an_open_dashboard(dashboard, monkeypatch):
    monkeypatch.setattr(Dashboard, "mode", "disabled")
    found = bad(dashboard)
    assert list(found) == ["dashboard: asks for a token"]
    assert "auth.mode: token" in found["dashboard: asks for a token"]


def test_the_token_of_another_cluster(dashboard):
    found = bad(dashboard, "of-another")
    assert list(found) == ["dashboard: takes our token"]
    assert "403 with it" in found["dashboard: takes our token"]


@pytest.mark.parametrize("token", [f"{TOKEN}\r", f" {TOKEN}\n"])
def test_what_an_editor_leaves_at_a_tokens_end_is_no_part_of_it(token, dashboard):
    assert bad(dashboard, token) == {}


def test_a_token_that_cannot_be_sent_is_not_shown(dashboard):
    assert list(bad(dashboard, f"{TOKEN}\n{TOKEN}")) == ["dashboard: takes our token"]


def test_a_head_that_is_ill(dashboard, monkeypatch):
    from histoseg.doctor import run as doctor

    monkeypatch.setattr(doctor, "PAUSES_S", (0.0,))
    monkeypatch.setattr(Dashboard, "healthy", False)
    found = bad(dashboard)
    assert list(found) == ["dashboard: answers"]
    assert ": 503 " in found["dashboard: answers"]


def test_a_head_that_is_starting_is_asked_again(dashboard, monkeypatch):
    from histoseg.doctor import run as doctor

    monkeypatch.setattr(Dashboard, "healthy", False)
    monkeypatch.setattr(doctor.time, "sleep", lambda _seconds: setattr(Dashboard, "healthy", True))
    assert bad(dashboard) == {}
    assert [path for path, _ in Dashboard.seen].count("/api/gcs_healthz") == 2


def test_the_token_follows_no_redirect(dashboard, monkeypatch):
    monkeypatch.setattr(Dashboard, "mode", "redirect")
    assert len(bad(dashboard)) == 3
    assert len(Dashboard.seen) == 3


def test_a_head_that_refuses_connections_is_asked_again(dashboard, monkeypatch):
    """Nobody listens yet, then the first connection is dropped; the third attempt is answered."""
    from histoseg.doctor import run as doctor

    answers, waited = [ConnectionRefusedError, http.client.RemoteDisconnected, doctor._status], []

    def status(*words):
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, type):
            raise answer
        return answer(*words)

    monkeypatch.setattr(doctor, "_status", status)
    monkeypatch.setattr(doctor.time, "sleep", waited.append)
    assert bad(dashboard) == {}
    assert waited == [1.0, 2.0]  # of PAUSES_S


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "127.0.0.1:8265", "ftp://host", "http://host:port"])
def test_no_dashboard_there(url, monkeypatch):
    from histoseg.doctor import run as doctor

    monkeypatch.setattr(doctor, "PAUSES_S", (0.0,))
    found = bad(url)
    assert list(found) == ["dashboard: answers"]
    assert "kubectl port-forward" in found["dashboard: answers"]


def run(capsys, *words):
    from histoseg.cli import main

    with pytest.raises(SystemExit) as stop:
        main(["doctor", *words])
    return stop.value.code, capsys.readouterr()


def test_where_work_is_done_elsewhere_this_machine_does_not_matter(dashboard, tmp_path, capsys, monkeypatch):
    """As `helm test` calls it: an image without torch and Ray must pass."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    code, out = run(capsys, "--store", f"file://{tmp_path}/store", "--dashboard", dashboard)
    assert code == 0
    assert [line.split(": ", 1)[0] for line in out.out.splitlines()] == ["ok   store"] * 5 + ["ok   dashboard"] * 3
    code, out = run(capsys, "--store", f"file://{tmp_path}/store", "--no-machine")
    assert code == 0
    assert "torch" not in out.out
    assert TOKEN not in out.out


def test_a_failed_check_is_a_failed_command(capsys, monkeypatch):
    from histoseg.doctor import run as doctor

    monkeypatch.setattr(doctor, "PAUSES_S", (0.0,))
    code, out = run(capsys, "--dashboard", "http://127.0.0.1:9", "--machine")
    assert code == 1
    assert "1 checks failed" in out.err
    assert "ok   cores" in out.out
    assert "NOT  dashboard: answers" in out.out


def test_what_an_experiment_finds_in_a_store(prepared_url, tmp_path, capsys):
    """The store has glas and monuseg, but cut for other patches than table1 has; so no run is possible."""
    words = ("--no-machine", "--experiment", "table1", "--store")
    code, out = run(capsys, *words, prepared_url)
    assert code == 1
    assert "NOT  experiment table1 (laptop): table1: no cell can be had" in out.out
    assert "histoseg prepare all --experiment table1 --scale laptop" in out.out


def test_how_many_runs_an_experiment_has(demo, tmp_path, capsys):
    """Of smoke.py: one cell for each of two methods."""
    from histoseg.runs.config import Data
    from histoseg.shards.writer import Recipe, write_shards
    from histoseg.store.objects import connect

    url = f"file://{tmp_path}"
    with ThreadPoolExecutor(1) as pool:
        for source in ("synthetic", "glas"):
            write_shards(source, demo, connect(url), Recipe(data=Data(patch_px=64)), pool)
    code, out = run(capsys, "--no-machine", "--experiment", "smoke", "--store", url)
    assert code == 0
    assert out.out.splitlines()[-1] == "ok   experiment smoke (laptop): 2 runs of synthetic, glas"


def test_a_context_that_is_not_there(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    code, out = run(capsys, "--cluster", "lab")
    assert code == 1
    assert out.out.startswith("NOT  cluster: no kubeconfig at")
    assert "->" not in out.out  # The error says what to do.


class Overwriting(FileStore):
    """A store that takes no notice of If-None-Match, as some S3 servers do."""

    def put_if_absent(self, key, body):
        self.put(key, body)
        return True


class Unlisted(FileStore):
    """A store whose key may not list."""

    def list(self, prefix=""):
        raise StoreRefusedError("access denied; the key may not do this here")


@pytest.mark.parametrize(
    ("kind", "step", "advice"),
    [
        (Overwriting, "put only if absent", "no right helps; take a store with conditional puts (If-None-Match), such"),
        (Unlisted, "list", "correct the URL, or get this right: for the key on a bucket"),
    ],
)
def test_what_a_store_cannot_do_is_told_and_nothing_is_left_there(kind, step, advice, tmp_path, monkeypatch):
    from histoseg.doctor import checks

    monkeypatch.setattr(checks, "connect", lambda _url, *_patience: kind(tmp_path))
    *passed, last = checks.store_checks(f"file://{tmp_path}")
    assert all(check.ok for check in passed)
    assert (last.what, last.ok) == (f"store: {step}", False)
    assert last.advice.startswith(advice)
    assert FileStore(tmp_path).list() == []


def test_whoever_stops_listening_leaves_nothing_there(tmp_path):
    from histoseg.doctor.checks import store_checks

    found = store_checks(f"file://{tmp_path}")
    assert next(found).what == "store: put"
    found.close()
    assert FileStore(tmp_path).list() == []


@pytest.mark.parametrize(
    ("url", "found", "is_of_rights"),
    [
        ("file:///etc/passwd/x", "cannot write /etc/passwd/x/", True),
        ("s3://b/p", "s3://b/p: Invalid endpoint: host:8333; write http://host:port in AWS_ENDPOINT_URL", False),
    ],
)
def test_a_store_that_cannot_be_is_one_line(url, found, is_of_rights, monkeypatch):
    from histoseg.doctor.checks import NEEDS_RIGHT, store_checks

    monkeypatch.setenv("AWS_ENDPOINT_URL", "host:8333")
    (check,) = store_checks(url)
    assert check.found.startswith(found)
    assert check.advice == (NEEDS_RIGHT if is_of_rights else "")
