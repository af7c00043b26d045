import pytest

from histoseg.doctor import store as module
from histoseg.doctor.store import NEEDS_RIGHT, NEEDS_STORE, store_checks
from histoseg.errors import StoreRefusedError
from histoseg.store.objects import FileStore
from tests.store.servers import canned


class Overwriting(FileStore):
    """A store that ignores If-None-Match, as some S3 servers do."""

    def put_if_absent(self, key, body):
        self.put(key, body)
        return True


class Unlisted(FileStore):
    """A store whose key may not list."""

    def list(self, prefix=""):
        raise StoreRefusedError("access denied; the key may not do this here")


@pytest.mark.parametrize(
    ("kind", "step", "advice"), [(Overwriting, "put only if absent", NEEDS_STORE), (Unlisted, "list", NEEDS_RIGHT)]
)
def test_a_store_that_cannot_do_a_step_is_named_and_left_empty(kind, step, advice, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "connect", lambda _url, *_patience: kind(tmp_path))
    *passed, last = store_checks(f"file://{tmp_path}")
    assert all(check.ok for check in passed)
    assert (last.what, last.ok, last.advice) == (f"store: {step}", False, advice)
    assert FileStore(tmp_path).list() == []


def test_checks_that_are_not_finished_leave_nothing_there(tmp_path):
    found = store_checks(f"file://{tmp_path}")
    assert next(found).what == "store: put"
    found.close()
    assert FileStore(tmp_path).list() == []


@pytest.mark.parametrize(
    ("url", "found", "needs_right"),
    [
        ("file:///etc/passwd/x", "/etc/passwd/x/", True),
        ("s3://b/p", "host:8333", False),
    ],
)
def test_a_store_that_cannot_be_used_is_one_line(url, found, needs_right, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "host:8333")
    (check,) = store_checks(url)
    assert found in check.found
    assert check.advice == (NEEDS_RIGHT if needs_right else "")


def test_a_setting_to_correct_is_not_called_a_missing_right(monkeypatch):
    with canned(302, {"Location": "https://login.lab/"}) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        (check,) = store_checks("s3://bucket")
    assert (check.ok, check.advice) == (False, "")
    assert "redirects (302) to https://login.lab" in check.found
