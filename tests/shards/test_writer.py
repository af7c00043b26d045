import gc
import json
import logging
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from histoseg.errors import ConfigError, DataError, MissingSourceError, StorageError
from histoseg.runs import catalog
from histoseg.runs.config import Data
from histoseg.shards import writer
from histoseg.shards.index import open_index
from histoseg.shards.reader import MetaDataset
from histoseg.shards.verify import prepared_sources, verify_source
from histoseg.shards.writer import Recipe, write_shards
from histoseg.store.keys import index_key, shard_folder, shard_key
from histoseg.store.objects import connect
from histoseg.types import IGNORE, SPLITS
from tests.lab import write_raw

RECIPE = Recipe(data=Data(patch_px=96))


def all_bytes(store):
    return {key: store.get(key) for key in store.list("shards/") if "/parts/" not in key}


def test_pixels_come_back_as_the_source_read_them(demo, store, pool, tmp_path):
    index = write_shards("digestpath", demo, store, RECIPE, pool)
    dataset = MetaDataset.open(store, ["digestpath"], "96px", tmp_path / "cache")
    module = catalog.load_source("digestpath")
    truth = {sample.key: sample for sample in map(module.read, module.entries(demo))}
    found = [sample for split in SPLITS for sample in dataset.whole_images("digestpath", split)]
    assert {sample.key for sample in found} == set(truth)
    assert len(index.samples.key) > len(truth)  # these images are large enough to be tiled
    for sample in found:
        np.testing.assert_array_equal(sample.image, truth[sample.key].image)
        np.testing.assert_array_equal(sample.semantic_map, truth[sample.key].semantic_map)


def test_written_twice_is_byte_identical(demo, tmp_path, pool):
    stores = [connect(f"file://{tmp_path / name}") for name in "ab"]
    for store in stores:
        write_shards("glas", demo, store, RECIPE, pool)
    assert all_bytes(stores[0]) == all_bytes(stores[1])


# webdataset leaves closing the files it opened to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_the_shards(demo, store, pool):
    webdataset = pytest.importorskip("webdataset")
    index = write_shards("monuseg", demo, store, RECIPE, pool)
    urls = [str(store.path(shard_key("monuseg", "96px", shard.name))) for shard in index.shards]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    assert [sample["__key__"] for sample in samples] == index.samples.key
    assert samples[0]["image.npy"].shape == (index.samples.height[0], index.samples.width[0], 3)
    assert samples[0]["json"]["patient"] == index.samples.patient[0]
    assert samples[0]["json"]["licence"] == index.task.licence
    gc.collect()


def test_splits_are_disjoint_by_patient_and_none_is_empty(demo, store, pool):
    index = write_shards("glas", demo, store, RECIPE, pool)
    patients = {split: {index.samples.patient[row] for row in index.rows(split)} for split in SPLITS}
    assert all(patients.values())
    assert sum(map(len, patients.values())) == len(set.union(*patients.values()))


def test_class_pixels_are_those_of_the_maps(demo, store, pool, tmp_path):
    index = write_shards("glas", demo, store, RECIPE, pool)
    dataset = MetaDataset.open(store, ["glas"], "96px", tmp_path / "cache")
    maps = [dataset.read("glas", row)[1] for row in range(len(index.samples.key))]
    assert index.class_pixels().tolist() == [sum(int((m == c).sum()) for m in maps) for c in (0, 1)]


def test_what_is_there_is_kept_and_what_is_lost_is_written_again(demo, store, pool, monkeypatch):
    index = write_shards("glas", demo, store, RECIPE, pool)
    before = all_bytes(store)
    lost = shard_key("glas", "96px", index.shards[3].name)
    store.delete(lost)
    written = []
    whole = writer.write_shard
    monkeypatch.setattr(writer, "write_shard", lambda job, store: written.append(job.number) or whole(job, store))
    write_shards("glas", demo, store, RECIPE, pool)
    assert len(written) == 1
    assert all_bytes(store) == before
    write_shards("glas", demo, store, Recipe(data=RECIPE.data, rewrite=True), pool)
    assert len(written) == 1 + len(index.shards)


def test_nothing_is_published_while_a_shard_is_missing(demo, store, pool, monkeypatch):
    def fail(job, store):
        raise DataError("made to fail")

    monkeypatch.setattr(writer, "write_shard", fail)
    with pytest.raises(DataError, match="made to fail"):
        write_shards("glas", demo, store, RECIPE, pool)
    assert store.size(index_key("glas", "96px")) is None


def test_a_name_with_a_hyphen_is_verified_too(store):
    store.put("shards/my-lab/64px/index.json", b"{}")
    assert prepared_sources(store) == [("my-lab", "64px")]


def test_verify_finds_any_flipped_byte(demo, store, pool):
    index = write_shards("glas", demo, store, RECIPE, pool)
    assert prepared_sources(store) == [("glas", "96px")]
    assert list(verify_source(store, "glas", "96px")) == []
    key = shard_key("glas", "96px", index.shards[0].name)
    body = bytearray(store.get(key))
    for position in (0, len(body) // 2, len(body) - 1):
        body[position] ^= 1
        store.put(key, bytes(body))
        (line,) = verify_source(store, "glas", "96px")
        assert "damaged" in line
        assert index.shards[0].name in line
        body[position] ^= 1
    store.put(key, bytes(body)[:-512])
    assert len(list(verify_source(store, "glas", "96px"))) == 1


def test_a_damaged_shard_is_refused_when_read(demo, store, pool, tmp_path):
    index = write_shards("glas", demo, store, replace(RECIPE, options={"instances": "numbered"}), pool)
    key = shard_key("glas", "96px", index.shards[0].name)
    store.put(key, store.get(key)[:-1] + b"x")
    dataset = MetaDataset.open(store, ["glas"], "96px", tmp_path / "cache")
    options = "--patch-px 96 --option instances=numbered --rewrite"
    again = rf"write it again: `histoseg prepare glas --raw FOLDER --store {store.url} {options}`"
    with pytest.raises(DataError, match=rf"is damaged.*{again}"):
        dataset.read("glas", 0)
    assert not list((tmp_path / "cache").glob("*.tar"))


def test_a_damaged_index_is_refused(demo, store, pool):
    write_shards("glas", demo, store, RECIPE, pool)
    content = json.loads(store.get(index_key("glas", "96px")))
    content["samples"]["key"].pop()
    store.put(index_key("glas", "96px"), json.dumps(content).encode())
    with pytest.raises(DataError, match="differ in length"):
        open_index(store, "glas", "96px")


def test_an_unprepared_source_says_how_to_prepare_it(store):
    with pytest.raises(DataError, match=r"no shards of glas laid out as 96px.*`histoseg prepare glas"):
        open_index(store, "glas", "96px")


def test_unknown_source_and_option_list_the_choices(demo, store, pool):
    with pytest.raises(MissingSourceError, match=r"no 'nope' in sources; choose from .*glas"):
        write_shards("nope", demo, store, RECIPE, pool)
    with pytest.raises(ConfigError, match="glas has no option colour"):
        write_shards("glas", demo, store, Recipe(options={"colour": "blue"}), pool)


def test_a_source_of_one_class_is_warned_of(store, pool, monkeypatch, demo, caplog):
    module = catalog.load_source("glas")
    read = module.read

    def empty(entry):
        sample = read(entry)
        return replace(
            sample,
            semantic_map=np.zeros_like(sample.semantic_map),
            instance_map=np.zeros_like(sample.instance_map),
        )

    monkeypatch.setattr(module, "read", empty)
    index = write_shards("glas", demo, store, RECIPE, pool)
    assert "every labelled pixel is background" in index.warnings[0]
    assert index.warnings[0] in caplog.text


def test_members_look_the_same_whoever_writes_them(demo, store, pool):
    index = write_shards("glas", demo, store, RECIPE, pool)
    with tarfile.open(store.path(shard_key("glas", "96px", index.shards[0].name))) as tar:
        seen = {(member.mtime, member.uid, member.gid, member.uname, member.mode) for member in tar}
    assert seen == {(0, 0, 0, "", 0o444)}


def test_a_copied_source_does_not_take_the_place_of_another(store, pool, lab, monkeypatch):
    """Shards lie under the file's name, and a task of another name would be that other source."""
    index = write_shards("labset", lab, store, RECIPE, pool)
    before = all_bytes(store)
    module = catalog.load_source("labset")
    monkeypatch.setattr(module, "TASK", replace(module.TASK, name="synthetic"))
    with pytest.raises(ConfigError, match=r"TASK\.name is 'synthetic'; it must be 'labset'"):
        write_shards("labset", lab, store, RECIPE, pool)
    assert all_bytes(store) == before
    assert index.folder == shard_folder("labset", "96px")


def test_what_is_there_of_other_sources_and_layouts_stays(store, pool, lab):
    others = [f"{shard_folder(*place)}/a.tar" for place in (("glas", "96px"), ("labset", "64px"))]
    old = f"{shard_folder('labset', '96px')}/old.tar"
    for key in (*others, old):
        store.put(key, b"a")
    write_shards("labset", lab, store, RECIPE, pool)
    assert [store.size(key) for key in (*others, old)] == [1, 1, None]


def test_no_entry_at_all_is_a_source_that_is_not_there(store, pool, lab, monkeypatch):
    monkeypatch.setattr(catalog.load_source("labset"), "entries", lambda root: [])
    with pytest.raises(MissingSourceError, match=rf"{lab}: `entries` of labset found nothing there"):
        write_shards("labset", lab, store, RECIPE, pool)


@pytest.mark.parametrize(("name", "value"), [("patient", None), ("patient", 3), ("patient", ""), ("key", 7)])
def test_keys_and_patients_are_texts(store, pool, lab, monkeypatch, name, value):
    module = catalog.load_source("labset")
    entries = module.entries(lab)
    object.__setattr__(entries[2], name, value)  # Its annotations would refuse it in tests, as they do not elsewhere.
    monkeypatch.setattr(module, "entries", lambda root: entries)
    with pytest.raises(DataError, match=rf"labset: an entry with .*{name} {value!r}.*must give both as texts"):
        write_shards("labset", lab, store, RECIPE, pool)


def test_a_link_that_leads_nowhere_is_named(store, pool, lab):
    (lab / "labset" / "lost.raw").symlink_to(lab / "nowhere")
    (left_out,) = write_shards("labset", lab, store, RECIPE, pool).unreadable
    assert left_out.key == "lost"
    assert f"{lab}/labset/lost.raw: No such file or directory; fetch the file again" in left_out.reason


def test_a_cache_that_cannot_be_written_is_named(store, pool, lab, tmp_path):
    write_shards("labset", lab, store, RECIPE, pool)
    (tmp_path / "file").write_text("no folder")
    dataset = MetaDataset.open(store, ["labset"], "96px", tmp_path / "file" / "cache")
    with pytest.raises(
        StorageError,
        match=r"file/cache: cannot keep shards there \(Not a directory\); make room there, or name another",
    ):
        dataset.read("labset", 0)


def test_masks_of_0_and_255_are_warned_of(store, pool, lab, monkeypatch, caplog):
    module = catalog.load_source("labset")
    read = module.read

    def as_published(entry):
        sample = read(entry)
        return replace(sample, semantic_map=sample.semantic_map * np.uint8(IGNORE))

    monkeypatch.setattr(module, "read", as_published)
    write_shards("labset", lab, store, RECIPE, pool)
    # Half of each of the lab's images is class 1.
    said = "labset: no pixel is gland, and 50% of its pixels are 255, which means not labelled; if that is wrong, check"
    assert said in caplog.text


def test_few_labels_and_few_patients_are_warned_of(store, pool, tmp_path, lab, monkeypatch, caplog):
    module = catalog.load_source("labset")
    read = module.read

    def sparse(entry):
        sample = read(entry)
        labels = np.full_like(sample.semantic_map, IGNORE)
        labels[:10], labels[10:12] = 0, 1  # 12 of 40 rows
        return replace(sample, semantic_map=labels)

    write_shards("labset", lab, store, RECIPE, pool)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]  # Six patients, half gland.
    monkeypatch.setattr(module, "read", sparse)
    write_shards("labset", write_raw(tmp_path / "few", "labset", count=2), store, RECIPE, pool)
    assert "labset: 70% of its pixels are 255, which means not labelled" in caplog.text
    # Two patients: the first two of train, test and val (`splits.SHARES`) have one each.
    assert "labset: none of its 2 patients is in val; a new task needs three patients" in caplog.text
