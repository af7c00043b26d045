"""A store, a pool of one thread, and a lab's source, for all tests of shards."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from histoseg.store.objects import connect
from tests.lab import SOURCE, write_lab, write_raw


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as threads:
        yield threads


@pytest.fixture
def store(tmp_path):
    return connect(f"file://{tmp_path / 'store'}")


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A source `labset`, and the folder of its raw files."""
    write_lab(tmp_path / "lab", {"labset": SOURCE.replace("NAME", "labset")})
    monkeypatch.syspath_prepend(str(tmp_path / "lab"))
    return write_raw(tmp_path / "raw", "labset")
