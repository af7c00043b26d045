import os
import signal
import stat
import subprocess
import sys

import pytest

from histoseg.errors import ConfigError, StorageError
from histoseg.store.objects import connect
from ray_jobs import local_store as module
from ray_jobs.local_store import local_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def served(folder):
    with local_store(folder) as store:
        yield store


def test_objects_come_back(served):
    store = connect(f"{served.url}/some/prefix")
    body = os.urandom(3_000_000)
    store.put("shards/a.tar", body)
    assert store.get("shards/a.tar") == body
    assert store.get_range("shards/a.tar", 10, 5) == body[10:15]
    assert store.list("shards/") == ["shards/a.tar"]


def test_only_the_first_of_two_writers_wins(served):
    store = connect(served.url)
    assert store.put_if_absent("record", b"first")
    assert not store.put_if_absent("record", b"second")
    assert store.get("record") == b"first"


def test_credentials_are_needed_and_private(served, folder, monkeypatch):
    assert stat.S_IMODE((folder / "s3.json").stat().st_mode) == 0o600
    secret = served.environment["AWS_SECRET_ACCESS_KEY"]
    assert secret not in (folder / "weed.log").read_text()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x" * 40)
    with pytest.raises(StorageError, match="secret key is wrong"):
        connect(served.url).get("record")


def test_a_folder_is_served_once(served, folder, monkeypatch):
    monkeypatch.setattr(module, "HANDOVER_TIMEOUT_S", 0.3)
    with pytest.raises(ConfigError, match="another process serves this store"), local_store(folder):
        pass


def test_environment_is_put_back(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "before")
    monkeypatch.delenv("AWS_REGION", raising=False)
    with local_store(tmp_path):
        assert os.environ["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    assert os.environ["AWS_ENDPOINT_URL"] == "before"
    assert "AWS_REGION" not in os.environ


def test_objects_survive_a_killed_server(tmp_path):
    with local_store(tmp_path) as served:
        for i in range(20):
            connect(served.url).put(f"object-{i}", bytes([i]) * 50_000)
        os.killpg(served.pid, signal.SIGKILL)
    with local_store(tmp_path) as served:
        store = connect(served.url)
        assert [store.get(f"object-{i}") for i in range(20)] == [bytes([i]) * 50_000 for i in range(20)]


def test_last_log_lines_are_in_the_error(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_command", lambda folder, ports: ["/bin/sh", "-c", "echo disk on fire; exit 3"])
    with pytest.raises(StorageError, match=r"(?s)status 3.*disk on fire"), local_store(tmp_path):
        pass


def test_server_ends_with_a_killed_owner_and_leaves_the_folder_free(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "ray_jobs.local_store", str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as owner:
        lines = [owner.stdout.readline() for _ in range(6)]
        assert lines[0].startswith("export AWS_ENDPOINT_URL=http://127.0.0.1:")
        assert lines[5] == "# serving s3://histoseg until Ctrl-C\n"
        owner.kill()
    with local_store(tmp_path):  # The lock is free only once the server is gone.
        pass


def hear_ctrl_c():
    """Tests that a shell runs in the background ignore it, and so would what they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_is_a_clean_end(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "ray_jobs.local_store", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=hear_ctrl_c,
    ) as owner:
        for _ in range(6):
            owner.stdout.readline()
        owner.send_signal(signal.SIGINT)
        _, error = owner.communicate(timeout=20)
    assert owner.returncode == 0
    assert error == b""


@pytest.mark.parametrize(("name", "before"), [("NO_PROXY", ""), ("NO_PROXY", "lab.org"), ("no_proxy", "lab.org")])
def test_a_proxy_is_passed_by(name, before, tmp_path, monkeypatch):
    for each in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv(name, before)
    with local_store(tmp_path) as served:
        store = connect(served.url)
        store.put("a", b"1")
        assert store.get("a") == b"1"
        assert os.environ[name] == ("lab.org,127.0.0.1" if before else "127.0.0.1")
    assert os.environ[name] == before
