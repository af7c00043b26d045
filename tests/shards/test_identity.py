"""Names of shards, by which those that are there are kept: what changes them, and stores of the version before."""

import hashlib
import json
import logging
from dataclasses import asdict, fields, make_dataclass, replace

import pytest

from histoseg.errors import DataError
from histoseg.runs import catalog
from histoseg.runs.config import Data
from histoseg.shards import writer
from histoseg.shards.index import encode_index, open_index
from histoseg.shards.marks import ShardContent, shard_mark
from histoseg.shards.verify import verify_source
from histoseg.shards.writer import Recipe, write_shards
from histoseg.store.keys import index_key, shard_part_key
from histoseg.types import Task

RECIPE = Recipe(data=Data(patch_px=96))
LABSET = ("labset", "96px")
TASK = Task(name="lab", title="Lab", classes=("background", "gland"), mpp=0.5, licence="ours")
CONTENT = ShardContent(
    task=TASK, split="train", number=3, tile_px=170, inputs=(("a", "p", (("image", "lab/a.png", 1200, 17),)),)
)


def with_a_new_field(value):
    """The same value in a version whose class has one field more, with a default."""
    newer = make_dataclass("Newer", [("scanner", str, "any")], bases=(type(value),), frozen=True, kw_only=True)
    return newer(**{field.name: getattr(value, field.name) for field in fields(value)})


# Frozen when format 3 began. Another mark writes every shard of every store again, and then FORMAT must be raised.
@pytest.mark.parametrize(
    ("content", "mark"),
    [
        (CONTENT, "a2da4f2fb64ebf56"),
        (replace(CONTENT, task=replace(TASK, kind="instance", label_map_version=2)), "564170974ea7c3a9"),
        (replace(CONTENT, mpp=0.5, options={"consensus": "majority"}), "925e542932ee290f"),
    ],
)
def test_marks_of_known_shards(content, mark):
    assert shard_mark(content) == mark


@pytest.mark.parametrize(
    ("data", "layout"),
    [
        (Data(), "768px"),
        (Data(patch_px=96, brightness=0.4), "96px"),
        (Data(patch_px=448, mpp=0.5, folds=True), "448px-0.5mpp-folds"),
    ],
)
def test_names_of_known_layouts(data, layout):
    assert data.layout == with_a_new_field(data).layout == layout


def test_defaults_that_marks_leave_out():
    """A default with another value gives an old mark to new shards, so it needs another FORMAT."""
    defaults = {field.name: field.default for field in fields(Task)}
    assert (defaults["kind"], defaults["label_map_version"]) == ("semantic", 1)
    assert (ShardContent.mpp, replace(CONTENT).options) == (0.0, {})


def test_a_new_field_with_a_default_changes_no_name():
    task = with_a_new_field(TASK)
    assert asdict(task) != asdict(TASK)
    assert shard_mark(replace(CONTENT, task=task)) == shard_mark(with_a_new_field(CONTENT)) == shard_mark(CONTENT)
    first, second = (
        encode_index(one, [], origin="raw", layout="96px", tile_px=170, options={}) for one in (TASK, task)
    )
    assert first == second


@pytest.mark.parametrize("change", [{"title": "L"}, {"structure": "gland"}, {"year": 2020}, {"reserve": 1}])
def test_how_a_source_is_used_is_not_in_its_shards(change):
    assert shard_mark(replace(CONTENT, task=replace(TASK, **change))) == shard_mark(CONTENT)


def test_all_that_is_in_a_shard_changes_its_mark():
    tasks = [{"name": "b"}, {"classes": ("a", "b")}, {"mpp": 1.0}, {"licence": "b"}, {"kind": "patch"}]
    tasks += [{"label_map_version": 2}]
    others = [{"split": "val"}, {"number": 4}, {"tile_px": 171}, {"mpp": 1.0}, {"options": {"a": "b"}}, {"inputs": ()}]
    contents = [replace(CONTENT, task=replace(TASK, **change)) for change in tasks]
    contents += [replace(CONTENT, **change) for change in others]
    assert len({shard_mark(content) for content in [CONTENT, *contents]}) == 13


def former_mark(index, number, raw):
    """The mark that format 2 gave a shard of one raw file, written down apart from the code that recognises it."""
    task, shard = index.task, index.shards[number]
    told = {
        "name": task.name,
        "title": task.title,
        "classes": list(task.classes),
        "mpp": task.mpp,
        "licence": task.licence,
        "kind": task.kind,
        "structure": task.structure,
        "label_map_version": task.label_map_version,
    }
    (row,) = [row for row, owner in enumerate(index.samples.shard) if owner == number]
    path = raw / "labset" / f"{index.samples.key[row]}.raw"
    stamps = [["image", f"labset/{path.name}", path.stat().st_size, path.stat().st_mtime_ns]]
    inputs = [[index.samples.key[row], index.samples.patient[row], stamps]]
    place = int(shard.name.split("-")[2])
    what = [2, told, shard.split, place, index.tile_px, 0.0, {}, inputs]
    return told, hashlib.sha256(json.dumps(what, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def as_format_2(store, raw):
    """Turn the index and the parts of `labset` into what the version before left."""
    index = open_index(store, *LABSET)
    content = json.loads(store.get(index_key(*LABSET)))
    parts = {}
    for key in store.list("shards/labset/96px/parts/"):
        part = json.loads(store.get(key))
        parts[part["shard"]["name"]] = part
        store.delete(key)
    for number, shard in enumerate(index.shards):
        told, mark = former_mark(index, number, raw)
        store.put(shard_part_key(*LABSET, mark), json.dumps(parts[shard.name]).encode())
    store.put(index_key(*LABSET), json.dumps(content | {"format": 2, "task": told}, sort_keys=True).encode())
    return index


def test_a_store_of_the_version_before_is_used_and_kept(store, pool, lab, monkeypatch, caplog):
    write_shards("labset", lab, store, RECIPE, pool)
    before = as_format_2(store, lab)
    old = open_index(store, *LABSET)
    assert (old.task, old.shards, old.samples, old.checksum) == (
        before.task,
        before.shards,
        before.samples,
        before.checksum,
    )
    assert not list(verify_source(store, *LABSET))

    def fail(job, store):
        raise AssertionError(f"{job.split} {job.number} was written again")

    monkeypatch.setattr(writer, "write_shard", fail)
    with caplog.at_level(logging.INFO):
        for _ in range(2):  # The second time by the new marks.
            after = write_shards("labset", lab, store, RECIPE, pool)
            assert "labset: 6 of 6 shards are there already" in caplog.text
            caplog.clear()
    assert after.checksum == before.checksum
    assert json.loads(store.get(index_key(*LABSET)))["format"] == 3


def test_a_source_that_got_a_year_keeps_its_results(store, pool, lab, monkeypatch):
    """A run's name has the checksums of what it reads; how a source is listed is not read."""
    first = write_shards("labset", lab, store, RECIPE, pool)
    module = catalog.load_source("labset")
    monkeypatch.setattr(module, "TASK", replace(module.TASK, year=2020, title="Our lab"))
    second = write_shards("labset", lab, store, RECIPE, pool)
    assert (first.task.year, second.task.year, second.task.title) == (0, 2020, "Our lab")
    assert first.checksum == second.checksum
    monkeypatch.setattr(module, "TASK", replace(module.TASK, label_map_version=2))
    assert write_shards("labset", lab, store, RECIPE, pool).checksum != first.checksum


@pytest.mark.parametrize("path", [(), ("task",), ("shards", 0), ("samples",)])
def test_fields_of_a_newer_version_are_refused_as_such(store, pool, lab, path):
    write_shards("labset", lab, store, RECIPE, pool)
    content = json.loads(store.get(index_key(*LABSET)))
    part = content
    for step in path:
        part = part[step]
    part["scanner"] = ["any"]
    store.put(index_key(*LABSET), json.dumps(content).encode())
    with pytest.raises(DataError, match=r"96px/index\.json was written by a newer version .*; update histoseg"):
        open_index(store, *LABSET)


@pytest.mark.parametrize(
    ("number", "message"), [(4, "newer version .*found 4.*update histoseg"), (1, "found 1.*write it again: `histoseg")]
)
def test_formats_that_cannot_be_read(store, pool, lab, number, message):
    write_shards("labset", lab, store, RECIPE, pool)
    content = json.loads(store.get(index_key(*LABSET)))
    store.put(index_key(*LABSET), json.dumps(content | {"format": number}).encode())
    with pytest.raises(DataError, match=message):
        open_index(store, *LABSET)


def test_a_shard_whose_part_is_damaged_is_written_again(store, pool, lab):
    index = write_shards("labset", lab, store, RECIPE, pool)
    parts = store.list("shards/labset/96px/parts/")
    whole = store.get(parts[0])
    store.put(parts[0], whole[:20])
    assert write_shards("labset", lab, store, RECIPE, pool) == index
    assert store.get(parts[0]) == whole


@pytest.mark.parametrize(
    ("body", "message"),
    [(b"[]", "content: Input should be a valid dictionary"), (b'{"format": 3', "EOF while parsing"), (b"", "EOF")],
)
def test_what_is_not_an_index(store, body, message):
    store.put(index_key(*LABSET), body)
    with pytest.raises(DataError, match=rf"is not an index of format 3 \({message}.*\); write it again"):
        open_index(store, *LABSET)


@pytest.mark.parametrize(("name", "value"), [("key", None), ("key", 3), ("shard", [])])
def test_columns_that_are_missing_or_of_another_length(store, pool, lab, name, value):
    write_shards("labset", lab, store, RECIPE, pool)
    content = json.loads(store.get(index_key(*LABSET)))
    content["samples"] |= {name: value}
    if value is None:
        del content["samples"][name]
    store.put(index_key(*LABSET), json.dumps(content).encode())
    with pytest.raises(DataError, match=r"not an index of format 3 \(samples.*\); write it again"):
        open_index(store, *LABSET)
