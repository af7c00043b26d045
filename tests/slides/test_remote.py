"""Slides in a bucket of a real S3 server: tiled TIFF in place, other formats from a copy that is removed."""

import subprocess
import sys
import tempfile
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histoseg.demo.slides import write_slide
from histoseg.errors import ConfigError, DataError, StorageError
from histoseg.inference.segment import segment_slide
from histoseg.slides import spans
from histoseg.slides.options import SegmentOptions
from histoseg.slides.reader import open_slide
from histoseg.store.objects import FileStore, connect
from tests.slides import tiny
from tests.slides.blobs import draw_model
from tests.slides.drawn import piece_of_tissue, save_philips
from tests.store.servers import canned, weed

BUCKET = "s3://histoseg/cases"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with weed(tmp_path_factory.mktemp("weed")) as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    write_slide(folder / "one.svs", width=6000, height=4000, mpp=0.5)
    save_philips(folder / "two.tiff", piece_of_tissue((512, 768), np.random.default_rng(0)), 0.25)
    Image.fromarray(piece_of_tissue((100, 150), np.random.default_rng(0))).save(folder / "three.png", dpi=(50800,) * 2)
    return folder


@pytest.fixture
def store(server, folder, monkeypatch):
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    store = connect(BUCKET)
    for path in folder.iterdir():
        if store.size(path.name) is None:
            store.put(path.name, path)
    return store


@pytest.fixture
def copies(tmp_path, monkeypatch):
    """The folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def assert_equal(address, path):
    with open_slide(address) as ours, open_slide(path) as reference:
        assert (ours.name, ours.mpp, ours.size_px) == (path.stem, reference.mpp, reference.size_px)
        for mpp in (0.5, 0.8, 2.0):
            size = reference.size_at(mpp)
            assert np.array_equal(ours.read(0, 0, *size, mpp), reference.read(0, 0, *size, mpp))


@pytest.mark.parametrize("name", ["one.svs", "two.tiff", "three.png"])
def test_a_slide_in_a_bucket_is_the_one_on_disk(store, folder, copies, name):
    assert_equal(f"{BUCKET}/{name}", folder / name)
    assert list(copies.iterdir()) == []


def test_a_tiled_tiff_is_read_in_place_by_parts(store, folder, copies, monkeypatch):
    monkeypatch.setattr(spans, "SPAN_BYTES", 2**14)
    read, whole = [], (folder / "one.svs").stat().st_size
    get_range = type(store).get_range
    monkeypatch.setattr(type(store), "get_range", lambda self, *part: (read.append(part), get_range(self, *part))[1])
    with open_slide(f"{BUCKET}/one.svs") as slide:
        slide.read(600, 900, 448, 448, 0.5)
        assert list(copies.iterdir()) == []
        assert 0 < sum(length for _, _, length in read) < whole / 4
        once = len(read)
        slide.read(600, 900, 448, 448, 0.5)
        assert len(read) == once
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda top: slide.read(top, 0, 300, 6000, 0.5), range(0, 1700, 100)))
    assert len(read) == len(set(read))  # No part is fetched twice, also not by threads together.


def test_a_copy_is_removed_at_the_end(store, copies):
    with open_slide(f"{BUCKET}/two.tiff"):
        (folder,) = copies.iterdir()
        assert [path.name for path in folder.iterdir()] == ["two.tiff"]
    assert list(copies.iterdir()) == []


def test_a_copy_needs_room(store, copies, monkeypatch):
    usage = namedtuple("usage", "total used free")  # As shutil's
    monkeypatch.setattr(spans.shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(StorageError, match=r"cases/two\.tiff: .*TMPDIR"):
        open_slide(f"{BUCKET}/two.tiff")
    assert list(copies.iterdir()) == []
    with open_slide(f"{BUCKET}/one.svs") as slide:  # Needs none
        assert slide.size_px == (4000, 6000)


def test_errors_name_the_address_and_leave_no_copy(store, copies):
    store.put("notes.txt", b"no slide")
    with pytest.raises(DataError, match=r"^s3://histoseg/cases/notes\.txt: not a readable image"):
        open_slide(f"{BUCKET}/notes.txt")
    with pytest.raises(DataError, match=r"s3://histoseg/cases/three\.png: --mpp 1"):
        open_slide(f"{BUCKET}/three.png", 1.0)
    assert list(copies.iterdir()) == []


def test_a_truncated_object(store, folder, copies):
    store.put("cut.svs", (folder / "one.svs").read_bytes()[:100_000])
    with pytest.raises(DataError, match=r"s3://histoseg/cases/cut\.svs: .*; fetch the file again"):
        open_slide(f"{BUCKET}/cut.svs")


def test_an_object_that_is_not_there(store):
    with pytest.raises(DataError, match=r"s3://histoseg/cases .*absent\.svs"):
        open_slide(f"{BUCKET}/absent.svs")


def test_what_cannot_be_read_in_a_bucket_does_not_keep_others_from_being_segmented(store, server, folder, tmp_path):
    tiny.write_model(tmp_path / "model", folder / "one.svs")
    where = ["--model", tmp_path / "model", "--out", tmp_path / "out"]
    slides = [f"{BUCKET}/absent.svs", "s3://no-such-bucket/two.svs", f"{BUCKET}/three.png"]
    done = subprocess.run(
        [sys.executable, "-m", "histoseg.cli", "segment", *slides, *where], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert (tmp_path / "out" / "three" / "summary.json").exists()
    lines = done.stderr.splitlines()
    assert len(lines) == 3, done.stderr  # No other library's, such as boto3's on where it has found credentials
    assert "absent.svs" in lines[0]
    assert "no-such-bucket" in lines[1]
    assert lines[2].startswith("histoseg: 2 of 3 slides failed:")


def test_an_object_that_may_not_be_read_is_an_error_of_its_slide(monkeypatch, tmp_path):
    with canned(403) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(DataError, match=r"s3://lab/secret\.svs"):
            segment_slide("s3://lab/secret.svs", draw_model(), FileStore(tmp_path), SegmentOptions())


def test_an_address_without_a_file():
    with pytest.raises(ConfigError, match=r"s3://bucket/path/slide\.svs"):
        open_slide("s3://bucket")


def test_formats_of_several_files_are_not_copied():
    with pytest.raises(DataError, match=r"one\.mrxs: .*local folder"):
        open_slide("s3://bucket/one.mrxs")


def test_spans_read_as_a_file(folder, tmp_path):
    path = Path(folder / "one.svs")
    file = spans.LocalFile(path)
    reader = spans.SpansFile(file)
    body = path.read_bytes()
    assert reader.seek(-10, 2) == len(body) - 10
    assert reader.read() == body[-10:]
    assert reader.read() == b""
    assert reader.seek(100) == reader.tell() == 100
    assert reader.read(50) == body[100:150]
    assert reader.seek(5, 1) == 155
    file.close()
