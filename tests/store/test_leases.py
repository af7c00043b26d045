import threading
import time

import pytest

from histoseg.errors import LeaseError, StorageError, StoreRefusedError
from histoseg.store import leases
from histoseg.store.leases import FencedStore, Lease, leased, newest
from histoseg.store.objects import FileStore, connect

TTL_S = 0.5


@pytest.fixture
def store(tmp_path):
    return connect(f"file://{tmp_path}/store")


def hold(store, owner, held, leave, ttl_s=TTL_S):
    with leased(store, "cells", owner, ttl_s) as lease:
        held.append((owner, lease.number))
        leave.wait(10)


def test_one_at_a_time_and_each_with_a_higher_number(store):
    held, doors = [], [threading.Event() for _ in range(4)]
    threads = [threading.Thread(target=hold, args=(store, f"job-{i}", held, doors[i])) for i in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(4):
        deadline = time.monotonic() + 10
        while len(held) <= turn and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(3 * TTL_S)  # Whoever beats is not overtaken, however long it takes.
        assert len(held) == turn + 1
        doors[int(held[turn][0][-1])].set()
    for thread in threads:
        thread.join()
    assert [number for _, number in held] == [1, 2, 3, 4]


def test_who_shows_no_sign_of_life_is_overtaken_and_can_no_longer_write(store):
    store.put("leases/cells/000001.json", b'{"owner": "killed", "beat": 3}')
    former = FencedStore(store, Lease(name="cells", number=1))
    former.put("checkpoint", b"early")
    begin = time.monotonic()
    with leased(store, "cells", "next", TTL_S) as lease:
        assert time.monotonic() - begin >= TTL_S
        assert lease.number == 2
        attempts = [
            lambda: former.put("checkpoint", b"late"),
            lambda: former.put_if_absent("record", b"late"),
            lambda: former.delete("checkpoint"),
        ]
        for attempt in attempts:
            with pytest.raises(LeaseError, match="attempt 2 at cells has taken over from attempt 1"):
                attempt()
        FencedStore(store, lease).put("record", b"mine")
    assert former.get("checkpoint") == b"early"
    assert former.get("record") == b"mine"


def test_the_same_owner_need_not_wait_for_itself(store):
    with leased(store, "cells", "job", ttl_s=60.0):
        unreleased = store.get("leases/cells/000001.json")
    store.put("leases/cells/000001.json", unreleased)  # as if it had been killed
    begin = time.monotonic()
    with leased(store, "cells", "job", ttl_s=60.0) as lease:
        assert lease.number == 2
    assert time.monotonic() - begin < 5


def test_a_number_is_never_given_twice(store):
    for expected in (1, 2, 3):
        with leased(store, "cells", f"job-{expected}", TTL_S) as lease:
            assert lease.number == expected
    assert store.list("leases/") == ["leases/cells/000003.json"]
    assert newest(store, "cells") == 3


class Outage(FileStore):
    """A store that cannot be reached for a while."""

    is_down = False

    def path(self, key):
        if self.is_down:
            raise StorageError("connection refused")
        return super().path(key)

    def list(self, prefix=""):
        self.path(prefix)
        return super().list(prefix)


def test_nobody_is_overtaken_because_the_store_was_down(tmp_path):
    held, leave = [], threading.Event()
    flaky = Outage(tmp_path)
    holder = threading.Thread(target=hold, args=(flaky, "first", held, leave))
    holder.start()
    while not held:
        time.sleep(0.01)
    waiter = threading.Thread(target=hold, args=(flaky, "second", held, leave))
    waiter.start()
    time.sleep(TTL_S / 2)
    flaky.is_down = True
    time.sleep(3 * TTL_S)
    flaky.is_down = False
    time.sleep(2 * TTL_S)
    assert held == [("first", 1)]
    leave.set()
    holder.join()
    waiter.join()
    assert held == [("first", 1), ("second", 2)]


def test_a_lease_is_asked_for_again_when_the_store_fails_at_the_put(tmp_path, monkeypatch):
    store, put, failures = FileStore(tmp_path), FileStore.put_if_absent, iter([True, False])

    def fail_once(self, key, body):
        if next(failures, False):
            raise StorageError("connection reset")
        return put(self, key, body)

    monkeypatch.setattr(FileStore, "put_if_absent", fail_once)
    with leased(store, "cells", "job", TTL_S) as lease:
        assert lease.number == 1


@pytest.mark.parametrize(
    ("error", "patience_s", "at_once"),
    [(StoreRefusedError("access denied"), 600.0, True), (StorageError("connection refused"), 0.2, False)],
)
def test_a_lease_that_can_never_be_had_is_not_waited_for_for_ever(tmp_path, monkeypatch, error, patience_s, at_once):
    puts = []

    def fail(self, key, body):
        puts.append(key)
        raise error

    monkeypatch.setattr(leases, "PATIENCE_S", patience_s)
    monkeypatch.setattr(FileStore, "put_if_absent", fail)
    with pytest.raises(LeaseError, match=rf"/leases/cells/: cannot acquire the lease: {error}; `histoseg doctor`"):
        leased(FileStore(tmp_path), "cells", "job", TTL_S).__enter__()
    assert (len(puts) == 1) == at_once


def test_a_holder_that_lives_is_waited_for_through_outages_of_any_length(tmp_path, monkeypatch):
    """Errors between signs of life do not add up."""
    monkeypatch.setattr(leases, "PATIENCE_S", 3 * TTL_S)
    held, leave, flaky = [], threading.Event(), Outage(tmp_path)
    with leased(flaky, "cells", "first", TTL_S):
        waiter = threading.Thread(target=hold, args=(flaky, "second", held, leave))
        waiter.start()
        for _ in range(5):
            flaky.is_down = True
            time.sleep(TTL_S / 2)
            flaky.is_down = False
            time.sleep(TTL_S / 2)
    leave.set()
    waiter.join()
    assert held == [("second", 2)]
