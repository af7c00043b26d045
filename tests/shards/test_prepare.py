"""Several sources divided into folds together; tissue in two folds is refused before anything is written."""

import json
import re
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from histoseg.demo import files
from histoseg.demo.write import write_demo_data
from histoseg.errors import ConfigError, DataError, MissingSourceError
from histoseg.files.images import read_image
from histoseg.runs import catalog
from histoseg.runs.config import Data
from histoseg.shards import prepare as preparing
from histoseg.shards.index import open_index
from histoseg.shards.prepare import prepare_sources
from histoseg.shards.reader import MetaDataset
from histoseg.shards.verify import verify_source
from histoseg.shards.writer import Recipe
from histoseg.store.keys import FOLD_ASSIGNMENTS, shard_key
from histoseg.store.objects import connect
from histoseg.types import EXTERNAL, FOLDS, Sample
from tests.conftest import FOLD_SOURCES
from tests.lab import SOURCE, write_lab, write_raw


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as made:
        yield made


def test_every_patient_is_in_one_fold_and_published_ones_are_kept(folds_url, fold_data, demo):
    store = connect(folds_url)
    for source in FOLD_SOURCES:
        index = open_index(store, source, fold_data.layout)
        by_patient = {}
        for split in (*FOLDS, EXTERNAL):
            for row in index.rows(split).tolist():
                by_patient.setdefault(index.samples.patient[row], set()).add(split)
        assert all(len(splits) == 1 for splits in by_patient.values())
        assert len(index.rows(*FOLDS, EXTERNAL)) == len(index.samples.key)
        published = {e.key: e.fold for e in catalog.load_source(source).entries(demo) if e.fold}
        for row, image in enumerate(index.samples.image):
            assert published.get(image) in (None, *by_patient[index.samples.patient[row]])


def test_everything_lies_at_half_a_micron(folds_url, fold_data):
    for source in FOLD_SOURCES:
        index = open_index(connect(folds_url), source, fold_data.layout)
        assert index.layout == "64px-0.5mpp-folds"
        assert set(index.samples.mpp) <= {0.5, 0.495}  # Kather5K's own counts as the same.
        assert not list(verify_source(connect(folds_url), source, fold_data.layout))


def test_what_was_written_is_read_again(folds_url, fold_data, demo, tmp_path):
    """Objects of a whole image, numbered from 1 in the order of their numbers; a tile's class from its JSON."""
    dataset = MetaDataset.open(connect(folds_url), FOLD_SOURCES, fold_data.layout, tmp_path)
    module = catalog.load_source("lizard")
    entry = next(e for e in module.entries(demo) if e.fold == "fold2")
    sample = module.read(entry)
    found = dataset.whole_image("lizard", dataset.images("lizard", "fold2")[entry.key])
    np.testing.assert_array_equal(found.image, sample.image)
    np.testing.assert_array_equal(found.semantic_map, sample.semantic_map)
    np.testing.assert_array_equal(found.instance_map, np.unique(sample.instance_map, return_inverse=True)[1])
    index = dataset.sources["kather5k"]
    row = int(index.rows("fold1")[0])
    image, semantic_map = dataset.read("kather5k", row)
    assert semantic_map.shape == image.shape[:2]
    assert set(semantic_map.ravel().tolist()) == {dataset.patch_class("kather5k", row)}
    path = tmp_path / "shard.tar"
    connect(folds_url).download(shard_key("kather5k", index.layout, index.shards[index.samples.shard[row]].name), path)
    with tarfile.open(path) as tar:
        record = json.loads(tar.extractfile(f"{index.samples.key[row]}.json").read())
        names = tar.getnames()
    assert record["patch_class"] == dataset.patch_class("kather5k", row)
    assert f"{index.samples.key[row]}.semantic_map.npy" not in names


def test_the_same_tissue_in_two_sources_shares_a_fold(demo, fold_data, store, pool, tmp_path, monkeypatch):
    """CRAG images put once more into the native layout, under other names and re-encoded: found by their pictures."""
    raw = tmp_path / "raw"
    crag = catalog.load_source("crag").entries(demo)
    native = catalog.load_source("cerberus_gland").entries(demo)
    copies = {}
    for entry in [*crag[:4], *native]:
        for path in entry.files.values():
            target = raw / path.relative_to(demo)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    for number, entry in enumerate(crag[:4]):
        victim = native[number].files["image"]
        picture = read_image(entry.files["image"])
        wanted = read_image(victim).shape
        copies[f"crag/{entry.key}"] = f"cerberus_gland/{native[number].key}"
        padded = np.full(wanted, 230, np.uint8)
        height, width = (min(a, b) for a, b in zip(picture.shape[:2], wanted[:2], strict=True))
        padded[:height, :width] = picture[:height, :width]
        files.write_image(raw / victim.relative_to(demo), padded)
    prepare_sources(["crag", "cerberus_gland"], raw, store, Recipe(data=fold_data), pool, strict=True)
    fold_of = {}
    for source in ("crag", "cerberus_gland"):
        index = open_index(store, source, fold_data.layout)
        for split in (*FOLDS, EXTERNAL):
            fold_of |= {f"{source}/{index.samples.image[row]}": split for row in index.rows(split).tolist()}
    for first, second in copies.items():
        assert fold_of[first] == fold_of[second], (first, second)


def test_a_leak_is_refused_before_anything_is_written(demo, fold_data, store, pool, monkeypatch):
    """The check does not trust the assignment: here that is made to put one patient elsewhere."""
    real = preparing.assign_folds

    def careless(entries, *rest):
        folds = real(entries, *rest)
        entry = next(e for e in entries["lizard"] if e.fold == "fold1")
        return folds | {f"lizard/{entry.patient}": "fold2"}

    monkeypatch.setattr(preparing, "assign_folds", careless)
    with pytest.raises(DataError, match=r"tissue would be in two folds, so nothing was written: lizard/.* published"):
        prepare_sources(["lizard", "kather5k"], demo, store, Recipe(data=fold_data), pool)
    assert not list(store.list("shards/"))


def test_a_source_added_later_moves_nobody(demo, fold_data, store, pool):
    recipe = Recipe(data=fold_data)
    prepare_sources(["crag"], demo, store, recipe, pool, strict=True)
    before = json.loads(store.get(FOLD_ASSIGNMENTS))
    prepare_sources(["crag", "glas", "cerberus_gland"], demo, store, recipe, pool, strict=True)
    after = json.loads(store.get(FOLD_ASSIGNMENTS))
    assert {name: after[name] for name in before} == before
    assert len(after) > len(before)


def test_damaged_assignments_are_named(demo, fold_data, store, pool):
    store.put(FOLD_ASSIGNMENTS, b'{"crag/a": "fold9"}')
    with pytest.raises(DataError, match=r"folds/assignments\.json is damaged \(.*fold1.*\); restore it, or delete it"):
        prepare_sources(["crag"], demo, store, Recipe(data=fold_data), pool)
    assert not list(store.list("shards/"))


def test_a_source_that_is_not_there_is_left_out_with_its_reason(demo, fold_data, store, pool, tmp_path):
    raw = tmp_path / "raw"
    (raw / "Kather").mkdir(parents=True)
    for path in demo.rglob("Kather_texture*"):
        (raw / path.name).symlink_to(path, target_is_directory=True)
    prepared = prepare_sources(["kather5k", "lizard"], raw, store, Recipe(data=fold_data), pool)
    assert set(prepared.indexes) == {"kather5k"}
    assert [text for text in prepared.omissions if text.startswith("lizard was not found")]
    assert (prepared.absent, prepared.failures) == (("lizard",), ())
    with pytest.raises(DataError, match=r"holds none of lizard; .*`histoseg declare FOLDER`"):
        prepare_sources(["lizard"], raw, store, Recipe(data=fold_data), pool)


def test_a_tile_too_small_for_a_patch_is_refused(demo, fold_data, store, pool):
    recipe = Recipe(data=replace(fold_data, tissue_px=160))
    with pytest.raises(DataError, match=r"kather5k: .* has 150 x 150 pixels at 0.495 µm/px, but a patch needs 160"):
        prepare_sources(["kather5k"], demo, store, recipe, pool, strict=True)
    assert not [key for key in store.list("shards/") if key.endswith("index.json")]


@pytest.mark.parametrize(
    ("unbound", "message"),
    [
        ("nobody", "folds of nobody cannot be dealt again: .* not among the sources, synthetic"),
        ("synthetic", "folds of synthetic cannot be dealt again: the layout 96px has no folds"),
    ],
)
def test_what_has_no_folds_cannot_be_dealt_anew(demo, store, pool, unbound, message):
    recipe = Recipe(data=Data(patch_px=96), unbound=(unbound,))
    with pytest.raises(ConfigError, match=message):
        prepare_sources(["synthetic"], demo, store, recipe, pool)


def test_a_source_with_a_fault_is_told_from_one_that_is_not_there(store, pool, tmp_path, monkeypatch, caplog):
    labs = {name: SOURCE.replace("NAME", name) for name in ("laba", "labb", "labc")}
    labs["labb"] = labs["labb"].replace("return [", 'raise KeyError("patient")  # ')
    write_lab(tmp_path / "lab", labs)
    monkeypatch.syspath_prepend(str(tmp_path / "lab"))
    raw = write_raw(write_raw(tmp_path / "raw", "laba"), "labb")
    prepared = prepare_sources(list(labs), raw, store, Recipe(data=Data(patch_px=96)), pool)
    assert set(prepared.indexes) == {"laba"}
    assert prepared.absent == ("labc",)
    (failure,) = prepared.failures
    assert re.search(
        r"labb was left out: labb: `entries` raised KeyError: 'patient' \(.*labb_of.*py, line 14\)", failure
    )
    assert {text.split(":")[0] for text in prepared.omissions} == {"labc was not found", "labb was left out"}
    assert failure in caplog.text
    assert "labc" not in caplog.text  # The folder of a lab holds few of all sources that there are.


def test_named_sources_go_on_without_one_that_fails(store, pool, tmp_path, monkeypatch):
    """A source that is named must be there, so the command fails; what can be prepared is prepared all the same."""
    write_lab(tmp_path / "lab", {name: SOURCE.replace("NAME", name) for name in ("laba", "labb", "labc")})
    monkeypatch.syspath_prepend(str(tmp_path / "lab"))
    raw = write_raw(write_raw(tmp_path / "raw", "labc"), "labb")
    recipe = Recipe(data=Data(patch_px=96))
    prepared = prepare_sources(["laba", "labb", "labc"], raw, store, recipe, pool, strict=True)
    assert set(prepared.indexes) == {"labb", "labc"}
    assert prepared.failures == (f"laba was not found: {raw}: no laba found",)
    with pytest.raises(DataError, match="holds none of laba"):
        prepare_sources(["laba"], raw, store, recipe, pool)
    with pytest.raises(MissingSourceError, match=f"^{raw}: no laba found"):
        prepare_sources(["laba"], raw, store, recipe, pool, strict=True)


def test_a_damaged_image_is_left_out_of_the_folds(fold_data, store, pool, tmp_path):
    write_demo_data(tmp_path, sources=["glas", "kather5k"])
    damaged = next(tmp_path.rglob("testA_1.bmp"))
    whole = damaged.read_bytes()
    damaged.write_bytes(b"BM cut short")
    for _ in range(2):  # It is said again, as long as the file is damaged.
        prepared = prepare_sources(["glas", "kather5k"], tmp_path, store, Recipe(data=fold_data), pool)
        assert set(prepared.indexes) == {"glas", "kather5k"}
        assert prepared.omissions == ()
        (failure,) = prepared.failures
        assert re.fullmatch(r"glas: 1 of \d+ images could not be read and are left out: testA_1", failure)
        (left_out,) = prepared.indexes["glas"].unreadable
        assert f"{damaged}: not a readable image" in left_out.reason
        assert "testA_1" not in prepared.indexes["glas"].samples.image
    damaged.write_bytes(whole)
    prepared = prepare_sources(["glas", "kather5k"], tmp_path, store, Recipe(data=fold_data), pool)
    assert prepared.failures == prepared.indexes["glas"].unreadable == ()
    assert "testA_1" in prepared.indexes["glas"].samples.image


def test_folds_are_not_dealt_by_what_is_no_image(store, pool, tmp_path, fold_data, monkeypatch):
    """Fingerprints are made of what is read, before any shard is."""
    write_lab(tmp_path / "lab", {"labset": SOURCE.replace("NAME", "labset").replace("3), len", "4), len")})
    monkeypatch.syspath_prepend(str(tmp_path / "lab"))
    monkeypatch.setattr(catalog.load_source("labset"), "Sample", AnySample)
    with pytest.raises(DataError, match=r"labset: image0: image is uint8 of shape \(40, 40, 4\)"):
        prepare_sources(
            ["labset"], write_raw(tmp_path / "raw", "labset"), store, Recipe(data=fold_data), pool, strict=True
        )
    assert not list(store.list("shards/"))


class AnySample(Sample):
    """A sample that does not check its fields, as none does outside of tests."""

    def __init__(self, **fields):
        vars(self).update({"instance_map": None, **fields})
