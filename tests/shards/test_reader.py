"""Shards on the local disk: several threads fetch several at once, and each only once."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier, Event

import pytest

from histoseg.shards.reader import ShardCache
from histoseg.shards.stored import Shard
from histoseg.store.keys import shard_key
from histoseg.store.objects import FileStore
from tests.synthetic import make_index

LONG_S = 10.0  # Only a test that fails waits so long.


class WatchedStore(FileStore):
    """A store that says which shards are fetched, and does something first."""

    def __init__(self, root, before_download):
        super().__init__(root)
        self.fetched = []
        self.before_download = before_download

    def download(self, key, path):
        self.fetched.append(key.rpartition("/")[2])
        self.before_download(key)
        super().download(key, path)


@pytest.fixture
def threads():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def index_of(store, *names):
    """The index of a source with shards of those names, which are in the store."""
    shards = []
    for name in names:
        body = name.encode() * 10
        store.put(shard_key("glas", "96px", name), body)
        sha256 = hashlib.sha256(body).hexdigest()
        shards.append(Shard(name=name, split="train", sha256=sha256, num_bytes=len(body), num_samples=1))
    return replace(make_index("glas"), shards=tuple(shards))


def test_two_shards_are_fetched_at_the_same_time(tmp_path, threads):
    both = Barrier(2, timeout=LONG_S)
    store = WatchedStore(tmp_path / "store", lambda _: both.wait())
    cache = ShardCache(store, tmp_path / "cache")
    index = index_of(store, "one", "two")
    opened = [threads.submit(cache.open, index, number) for number in (0, 1)]
    assert [future.result().tobytes() for future in opened] == [b"one" * 10, b"two" * 10]


def test_a_shard_that_is_there_is_read_while_another_is_fetched(tmp_path, threads):
    asked, answered = Event(), Event()

    def wait_for_slow(key):
        if key.endswith("slow"):
            asked.set()
            assert answered.wait(LONG_S)

    store = WatchedStore(tmp_path / "store", wait_for_slow)
    cache = ShardCache(store, tmp_path / "cache")
    index = index_of(store, "here", "slow")
    cache.open(index, 0)
    fetched = threads.submit(cache.open, index, 1)
    assert asked.wait(LONG_S)
    read = threads.submit(cache.open, index, 0)
    try:
        assert read.result(LONG_S).tobytes() == b"here" * 10
    finally:
        answered.set()
    assert fetched.result().tobytes() == b"slow" * 10


def test_threads_that_want_the_same_shard_fetch_it_once(tmp_path, threads):
    store = WatchedStore(tmp_path / "store", lambda _: None)
    cache, index = ShardCache(store, tmp_path / "cache"), index_of(store, "one")
    first, second = threads.map(cache.open, [index] * 2, [0] * 2)
    assert first is second
    assert store.fetched == ["one"]
