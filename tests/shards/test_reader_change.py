"""Shards that other code of a reader wrote are kept, and named with what to do."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from histoseg.runs import catalog
from histoseg.runs.config import Data
from histoseg.shards.writer import Recipe, write_shards
from tests.lab import SOURCE, write_lab, write_raw

RECIPE = Recipe(data=Data(patch_px=96))


@pytest.fixture
def write(tmp_path, monkeypatch, store, caplog):
    """Writes the shards of `labset` and gives the warnings that came with them."""
    write_lab(tmp_path / "lab", {"labset": SOURCE.replace("NAME", "labset")})
    monkeypatch.syspath_prepend(str(tmp_path / "lab"))
    raw = write_raw(tmp_path / "raw", "labset")

    def write(**changes):
        caplog.clear()
        with ThreadPoolExecutor(1) as pool:
            write_shards("labset", raw, store, replace(RECIPE, **changes), pool)
        return [record.message for record in caplog.records if "reader has changed" in record.message]

    return write


def edit_reader(old, new):
    path = Path(catalog.load_source("labset").__file__)
    path.write_text(path.read_text().replace(old, new))


def test_a_changed_reader_is_named_until_its_shards_are_written_again(write, store):
    assert write() == write() == []
    edit_reader("labels[:20] = 1", "labels[20:] = 1")
    (line,) = write()
    assert line == (
        "labset: its reader has changed since 6 of 6 shards were written; if labels changed, write them again: "
        f"`histoseg prepare labset --raw FOLDER --store {store.url} --patch-px 96 --rewrite`"
    )
    assert write() == [line]
    assert write(rewrite=True) == write() == []


def test_shards_of_an_earlier_version_say_nothing_of_their_reader(write, store):
    write()
    for key in store.list("shards/labset/96px/parts/"):
        part = json.loads(store.get(key))
        del part["reader"]
        store.put(key, json.dumps(part).encode())
    edit_reader("labels[:20] = 1", "labels[20:] = 1")
    assert write() == []
