"""A store that accepts a put only if absent and then replaces what is there, as some S3 services do, is refused."""

import pytest

from histoseg.doctor.store import store_checks
from histoseg.errors import ConfigError
from histoseg.records.schema import Record
from histoseg.records.write import put_record
from histoseg.store import conditional
from histoseg.store.conditional import NEEDS_STORE, require_conditional_puts
from histoseg.store.holders import Holder
from histoseg.store.leases import leased
from histoseg.store.objects import FileStore, connect
from ray_jobs.local_store import local_store
from tests.store.ignoring_proxy import ignoring_proxy


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with local_store(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def ignoring(server, request):
    """A store at a server that ignores the condition."""
    with ignoring_proxy():
        yield connect(f"{server.url}/{request.node.name}")


def lease(store):
    with leased(store, "cells", Holder(owner="job"), 0.5):
        pass


def record(store):
    made = Record.model_construct(experiment="smoke", name="a")
    put_record(made, store)


@pytest.mark.parametrize("use", [lease, record])
def test_the_first_lease_or_record_is_refused_with_reason_and_remedy(ignoring, use):
    ignoring.put("before", b"1")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"s3://histoseg/.* at http://127.*replaced.*If-None-Match") as caught:
            use(ignoring)
    assert NEEDS_STORE in str(caught.value)
    assert ignoring.list() == ["before"]


def test_doctor_finds_the_same(ignoring):
    *passed, last = store_checks(ignoring.url)
    assert all(check.ok for check in passed)
    assert (last.what, last.ok, last.advice) == ("store: put only if absent", False, NEEDS_STORE)


def test_the_same_server_without_the_proxy_is_accepted(server):
    store = connect(f"{server.url}/kept")
    lease(store)
    assert store.list() == ["leases/cells/000001.json"]


def test_a_store_is_tried_once(tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr(conditional, "keeps_existing", lambda _store, key: tried.append(key) or True)
    for _ in range(3):
        require_conditional_puts(FileStore(tmp_path))
    assert len(tried) == 1
    require_conditional_puts(FileStore(tmp_path / "other"))
    assert len(tried) == 2
