import logging
import subprocess
import sys
import threading
import time

import pytest

from histoseg.errors import LeaseError, StorageError, StoreRefusedError
from histoseg.machine import machine_id, process_id
from histoseg.store import leases
from histoseg.store.holders import Holder
from histoseg.store.leases import FencedStore, Lease, leased, newest, number_attempt
from histoseg.store.objects import FileStore, connect

TTL_S = 0.5


@pytest.fixture
def store(tmp_path):
    return connect(f"file://{tmp_path}/store")


def hold(store, owner, held, leave, ttl_s=TTL_S):
    with leased(store, "cells", Holder(owner=owner), ttl_s) as lease:
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
    with leased(store, "cells", Holder(owner="next"), TTL_S) as lease:
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
    with leased(store, "cells", Holder(owner="job"), ttl_s=60.0):
        unreleased = store.get("leases/cells/000001.json")
    store.put("leases/cells/000001.json", unreleased)  # as if it had been killed
    begin = time.monotonic()
    with leased(store, "cells", Holder(owner="job"), ttl_s=60.0) as lease:
        assert lease.number == 2
    assert time.monotonic() - begin < 5


def test_a_number_is_never_given_twice(store):
    for expected in (1, 2, 3):
        with leased(store, "cells", Holder(owner=f"job-{expected}"), TTL_S) as lease:
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
    with leased(store, "cells", Holder(owner="job"), TTL_S) as lease:
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
    monkeypatch.setattr(leases, "require_conditional_puts", lambda _store: None)  # It would fail before the lease.
    monkeypatch.setattr(FileStore, "put_if_absent", fail)
    with pytest.raises(LeaseError, match=rf"/leases/cells/: cannot acquire the lease: {error}; `histoseg doctor`"):
        leased(FileStore(tmp_path), "cells", Holder(owner="job"), TTL_S).__enter__()
    assert (len(puts) == 1) == at_once


def test_a_holder_that_lives_is_waited_for_through_outages_of_any_length(tmp_path, monkeypatch):
    """Errors between signs of life do not add up."""
    monkeypatch.setattr(leases, "PATIENCE_S", 3 * TTL_S)
    held, leave, flaky = [], threading.Event(), Outage(tmp_path)
    with leased(flaky, "cells", Holder(owner="first"), TTL_S):
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


def former(**changed):
    """A holder that has left its lease behind; by default one of this machine whose process still runs."""
    here = {"owner": "former", "job": "smoke-1", "machine": machine_id(), "process": process_id()}
    return Holder(**{**here, **changed})


@pytest.fixture
def killed():
    """The `process_id` of a process that was killed."""
    command = "from histoseg.machine import process_id; import time; print(process_id(), flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, text=True) as process:
        name = process.stdout.readline().strip()
        process.kill()
    return name


def seconds_until_leased(store, holder, left):
    """How long it takes to get a lease that another one has left."""
    store.put("leases/cells/000001.json", left.model_dump_json().encode())
    begin = time.monotonic()
    with leased(store, "cells", holder, TTL_S) as lease:
        assert lease.number == 2
    return time.monotonic() - begin


def test_a_repeated_job_does_not_wait_for_its_killed_self(store, killed, caplog):
    me = former(owner="me")
    assert seconds_until_leased(store, me, former(process=killed)) < TTL_S / 2
    (line,) = caplog.messages
    number, machine = killed.split()[0], machine_id().split()[0]
    assert f"from smoke-1 (process {number} on {machine}), whose process has ended" in line


@pytest.mark.parametrize(
    "changed",
    [
        {"job": "smoke-2"},  # another submission
        {"job": ""},  # one that an earlier version wrote
        {"machine": "elsewhere"},  # where a process of this number may run
        {"process": process_id()},  # the former job still runs
        {"process": ""},
    ],
    ids=["another job", "an earlier version", "another machine", "a running process", "an unknown process"],
)
def test_others_are_waited_for(store, killed, changed):
    left = former(**{"process": killed, **changed})
    assert seconds_until_leased(store, former(owner="me"), left) >= TTL_S


def test_a_process_is_not_taken_for_a_later_one_of_its_number(store):
    """Numbers come again; the start differs."""
    number, start = process_id().split()
    assert seconds_until_leased(store, former(owner="me"), former(process=f"{number} {start}0")) < TTL_S / 2


def test_a_later_attempt_of_a_rayjob_need_not_wait_for_an_earlier_one(store, caplog):
    numbers = [number_attempt(store, "4c28cfdc0e96") for _ in range(2)]
    assert numbers == [1, 2]
    early, late = (former(owner=f"{i}", machine=f"pod-{i}", submission="4c28cfdc0e96", attempt=i) for i in numbers)
    assert seconds_until_leased(store, late, early) < TTL_S / 2
    assert "an earlier attempt of this RayJob" in caplog.messages[0]
    store.delete("leases/cells/000002.json")
    assert seconds_until_leased(store, early, late) >= TTL_S  # Else both would take it from each other for ever.
    store.delete("leases/cells/000002.json")
    other = late.model_copy(update={"submission": "77ab01cd9e2f"})
    assert seconds_until_leased(store, other, early) >= TTL_S


def test_attempts_at_the_same_moment_get_different_numbers(store):
    numbers = []
    threads = [threading.Thread(target=lambda: numbers.append(number_attempt(store, "job"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 9))


def test_the_log_says_what_is_waited_for_and_until_when(store, caplog):
    caplog.set_level(logging.INFO, "histoseg.store.leases")
    begin = time.time()
    seconds_until_leased(store, former(owner="me"), former(job="smoke-2"))
    waits, takes = caplog.messages
    assert "held by smoke-2 (process " in waits
    assert f"{store.url}/leases/cells/000001.json" in waits
    times = [time.strftime("%H:%M:%S", time.localtime(begin + TTL_S + late)) for late in range(3)]
    assert any(waits.endswith(f"until {time}") for time in times)
    assert "taking it over from smoke-2" in takes
