"""Images that cannot be read are left out, named and tried again; the other images and sources go on."""

import json
import logging
import shutil

import pytest
from PIL import Image as PillowImage

from histoseg import cli
from histoseg.demo.write import write_demo_data
from histoseg.errors import DataError
from histoseg.runs import catalog
from histoseg.runs.config import Data
from histoseg.shards.index import open_index
from histoseg.shards.pool import ReaderPool
from histoseg.shards.prepare import prepare_sources
from histoseg.shards.verify import verify_source
from histoseg.shards.writer import Recipe, write_shards
from histoseg.store.keys import index_key
from tests.lab import SOURCE, write_lab, write_raw

RECIPE = Recipe(data=Data(patch_px=96))
# What a file contains is what reading it does: `raise zlib.error("bad")`, or os.kill(os.getpid(), 11).
RUNS_FILES = SOURCE.replace("import numpy", "import os, struct, sys, zlib\nimport numpy").replace(
    "    labels = np.zeros", '    exec(entry.files["image"].read_text())\n    labels = np.zeros'
)
SEGFAULT = "os.kill(os.getpid(), 11)"


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A source `labset` of 24 images that does what its files contain, and the folder of its files."""
    write_lab(tmp_path / "lab", {"labset": RUNS_FILES.replace("NAME", "labset")})
    monkeypatch.syspath_prepend(str(tmp_path / "lab"))
    return write_raw(tmp_path / "raw", "labset", count=24)


def spoil(lab, number, text):
    path = lab / "labset" / f"image{number}.raw"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('raise zlib.error("Error -3")', "error: Error -3"),
        ("raise MemoryError", "MemoryError: the file needs more memory than there is"),
        ('raise OverflowError("too large")', "OverflowError: too large"),
        ('struct.unpack("<I", b"abc")', "error: unpack requires a buffer of 4 bytes"),
        ('{}["mask"]', "KeyError: 'mask'"),
        ('sys.exit("stop")', "SystemExit: stop"),
        ('raise OSError(28, "No space\\nleft")', "OSError: [Errno 28] No space left"),
    ],
)
def test_any_exception_is_one_line_with_source_image_and_file(store, pool, lab, caplog, text, said):
    caplog.set_level(logging.DEBUG, "histoseg")
    path = spoil(lab, 0, text)  # The first image, by which the number of images in a shard is chosen
    index = write_shards("labset", lab, store, RECIPE, pool)
    (left_out,) = index.unreadable
    assert (left_out.key, left_out.file) == ("image0", str(path))
    assert f"labset: image0: `read` raised {said}" in left_out.reason
    assert str(path) in left_out.reason
    assert "\n" not in left_out.reason
    assert "published" not in left_out.reason
    assert len(set(index.samples.image)) == 23
    assert "labset: 1 of 24 images could not be read and are left out: image0" in caplog.text
    assert any("Traceback" in record.message for record in caplog.records if record.levelno == logging.DEBUG)
    assert not list(verify_source(store, "labset", "96px"))


def test_what_is_no_sample_is_left_out_too(store, pool, lab, monkeypatch):
    module = catalog.load_source("labset")
    read = module.read
    monkeypatch.setattr(module, "read", lambda entry: None if entry.key == "image3" else read(entry))
    (left_out,) = write_shards("labset", lab, store, RECIPE, pool).unreadable
    assert "labset: image3 was read as NoneType; `read` must give a Sample" in left_out.reason


def test_notes_of_all_shards_are_counted_logged_and_kept(store, pool, lab, caplog):
    text = "from histoseg.files.notes import note; note('odd regions left out', {}){}"
    for number, (count, then) in enumerate([(2, ""), (3, ""), (0, ""), (50, "; 1 / 0")]):
        spoil(lab, number, text.format(count, then))
    for _ in range(2):  # The second call reads what the first stored.
        caplog.clear()
        index = write_shards("labset", lab, store, RECIPE, pool)
        assert index.notes == open_index(store, "labset", "96px").notes == {"odd regions left out": 5}
        assert [text for text in caplog.messages if "odd regions" in text] == ["labset: odd regions left out: 5"]


def test_a_resolution_that_contradicts_the_files_is_noted(store, pool, demo, tmp_path):
    shutil.copytree(demo / "synthetic", tmp_path / "raw" / "synthetic")
    images = sorted(path for path in (tmp_path / "raw").rglob("*.png") if "mask" not in path.name)
    mpp = catalog.load_source("synthetic").TASK.mpp
    for path, stated in zip(images[:5], (mpp / 2, mpp / 2, mpp * 1.04, 25400 / 72, mpp), strict=True):
        with PillowImage.open(path) as image:
            image.save(path, dpi=(25400 / stated,) * 2)
    notes = write_shards("synthetic", tmp_path / "raw", store, RECIPE, pool).notes
    ((text, count),) = notes.items()
    assert text == f"images whose file states {mpp / 2:.2g} microns per pixel, read as {mpp:.2g}; correct what is wrong"
    assert count == 2


def test_a_file_is_read_once_it_is_mended(store, pool, lab):
    clean = write_shards("labset", lab, store, RECIPE, pool)
    before = store.get(index_key("labset", "96px"))
    path = spoil(lab, 5, "raise ValueError('bad')")
    for _ in range(2):
        index = write_shards("labset", lab, store, RECIPE, pool)
        assert [one.key for one in index.unreadable] == ["image5"]
        assert index.checksum != clean.checksum
    path.write_text("# raw")
    assert write_shards("labset", lab, store, RECIPE, pool).checksum == clean.checksum
    assert store.get(index_key("labset", "96px")) == before


def test_a_file_is_read_once_its_reader_is_corrected(store, pool, lab, monkeypatch):
    """The file stays as it was, so its shard keeps its mark: what is left out is tried at every call."""
    spoil(lab, 5, "if not os.environ.get('CORRECTED'): raise ValueError('bad')")
    assert [one.key for one in write_shards("labset", lab, store, RECIPE, pool).unreadable] == ["image5"]
    monkeypatch.setenv("CORRECTED", "1")
    assert write_shards("labset", lab, store, RECIPE, pool).unreadable == ()


def test_clean_data_leaves_no_trace_of_it(store, pool, lab):
    """Indexes and parts are those of versions that could not leave out images, which can read them."""
    write_shards("labset", lab, store, RECIPE, pool)
    stored = [store.get(key) for key in store.list("shards/") if key.endswith(".json")]
    assert len(stored) > 1
    assert not [name for body in stored for name in ("unreadable", "notes", "trace") if name in json.loads(body)]


@pytest.mark.parametrize(("count", "bad", "refused"), [(24, 3, False), (24, 4, True), (40, 4, False), (40, 5, True)])
def test_a_source_may_lack_three_images_or_a_tenth(store, pool, lab, count, bad, refused):
    write_raw(lab, "labset", count=count)
    for number in range(bad):
        spoil(lab, number, "1 / 0")
    if not refused:
        assert len(write_shards("labset", lab, store, RECIPE, pool).unreadable) == bad
        return
    with pytest.raises(
        DataError, match=rf"ZeroDivision.*labset: {bad} of {count} images cannot be read, at most {bad - 1}"
    ):
        write_shards("labset", lab, store, RECIPE, pool)
    assert store.size(index_key("labset", "96px")) is None


@pytest.mark.parametrize("folds", [False, True])
@pytest.mark.parametrize("number", [0, 12])
def test_an_image_that_ends_its_process_costs_itself_alone(store, lab, fold_data, folds, number):
    path = spoil(lab, number, SEGFAULT)
    recipe = Recipe(data=fold_data) if folds else RECIPE
    with ReaderPool(2) as pool:
        index = prepare_sources(["labset"], lab, store, recipe, pool).indexes["labset"]
    (left_out,) = index.unreadable
    assert left_out.key == f"image{number}"
    assert left_out.reason.startswith(f"{path}: reading it ended the process")
    assert len(set(index.samples.image)) == 23


def test_the_command_fails_but_writes_what_it_can(lab, store, capsys, caplog):
    spoil(lab, 7, "1 / 0")
    words = ["prepare", "all", "--raw", lab, "--store", store.url, "--patch-px", "96"]
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            cli.main([str(word) for word in words])
        printed = capsys.readouterr()
        assert ended.value.code == 1
        assert "Traceback" not in printed.err
        assert (
            printed.err.splitlines()[-1]
            == "histoseg: labset: 1 of 24 images could not be read and are left out: image7"
        )
        assert "labset: 23 images of 23 patients" in printed.out
    assert len(open_index(store, "labset", "96px").unreadable) == 1


def test_a_damaged_label_file_costs_one_image_though_the_list_reads_it(tmp_path, store, pool):
    """CoNSeP's `entries` reads all label files, to find the edition."""
    write_demo_data(tmp_path, sources=["consep"])
    path = next(tmp_path.rglob("train_1.mat"))
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2 : len(whole) // 2 + 40] = bytes(255 - value for value in whole[len(whole) // 2 :][:40])
    path.write_bytes(whole)
    (left_out,) = write_shards("consep", tmp_path, store, RECIPE, pool).unreadable
    assert left_out.key == "train_1"
    assert f"{path}: not a readable MATLAB file" in left_out.reason


def test_a_list_that_ends_its_process_costs_its_source_alone(lab, store):
    """As SciPy is killed by some damaged label files."""
    module = next((lab.parent / "lab").glob("*.py"))
    module.write_text(module.read_text().replace("    paths = ", f"    {SEGFAULT}\n    paths = "))
    write_demo_data(lab.parent / "demo", sources=["synthetic"])
    (lab / "synthetic").symlink_to(lab.parent / "demo" / "synthetic")
    with ReaderPool(1) as pool:
        prepared = prepare_sources(["labset", "synthetic"], lab, store, RECIPE, pool)
    assert set(prepared.indexes) == {"synthetic"}
    (failure,) = prepared.failures
    assert "a file that `entries` of labset reads ended the process" in failure
