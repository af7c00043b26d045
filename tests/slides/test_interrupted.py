"""A slide whose segmentation is killed, at any write, and repeated has the results of one that was not."""

import errno
import json
import tempfile
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image as PillowImage

from histoseg.demo.slides import write_slide
from histoseg.errors import ConfigError, DataError, StorageError
from histoseg.inference import finish as finishing
from histoseg.inference import pictures
from histoseg.inference import segment as segmenting
from histoseg.inference.segment import open_work, segment_slide
from histoseg.maps.windows import MarginWindows
from histoseg.slides.options import SegmentOptions
from histoseg.store.objects import FileStore
from tests.pipeline.kills import Killed, MortalStore, Point
from tests.slides.blobs import BlobRegions, draw_model

OPTIONS = SegmentOptions(windows=MarginWindows(window_px=96, margin_px=16), mask="none", region_px=256)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("slides") / "one.tif"
    write_slide(path, width=512, height=512, mpp=0.5, seed=3)
    return str(path)


@pytest.fixture(scope="module")
def model():
    return draw_model()


def contents(folder):
    """Every file by name, but for the time that it took."""
    store = FileStore(folder)
    files = {key: store.get(key) for key in store.list()}
    summary = json.loads(files["one/summary.json"])
    return files | {"one/summary.json": {**summary, "seconds": 0}}


def test_killed_at_any_write_and_repeated_it_ends_the_same(tmp_path, address, model, monkeypatch):
    monkeypatch.setattr(pictures, "SMALL_PX", 0)  # tests/pipeline/test_kills.py kills an image and its pictures.
    undisturbed = MortalStore(FileStore(tmp_path / "whole"))
    segment_slide(address, model, undisturbed, OPTIONS)
    expected = contents(tmp_path / "whole")
    assert len(undisturbed.written) > 20
    of_parts = [write for write, key in enumerate(undisturbed.written) if "/.parts/" in key]
    for write in sorted({*range(len(undisturbed.written))} - {*of_parts[3:-2]}):
        folder, moment = (
            tmp_path / str(write),
            ("before", "within" if write in undisturbed.puts else "after")[write % 2],
        )
        with suppress(Killed):  # After the last write, nothing is left to be killed.
            segment_slide(address, model, MortalStore(FileStore(folder), Point(write, moment)), OPTIONS)
        segment_slide(address, model, FileStore(folder), OPTIONS)
        assert contents(folder) == expected, (write, moment, undisturbed.written[write])


def test_what_was_segmented_is_not_segmented_again(monkeypatch, tmp_path, address, model):
    with pytest.raises(Killed):
        segment_slide(address, model, MortalStore(FileStore(tmp_path), Point(5, "before")), OPTIONS)
    seen = []
    usual = BlobRegions.evidence
    monkeypatch.setattr(BlobRegions, "evidence", lambda *given: seen.append(given[3]) or usual(*given))
    with open_work(address, model, FileStore(tmp_path), OPTIONS) as work:
        assert len(work.undone()) == 2
    segment_slide(address, model, FileStore(tmp_path), OPTIONS)
    assert len(seen) == 2


def test_results_of_another_model_are_only_replaced_when_asked(tmp_path, address, model):
    store = FileStore(tmp_path)
    segment_slide(address, model, store, OPTIONS)
    before = contents(tmp_path)
    other = draw_model(sha256="1" * 64)
    with pytest.raises(ConfigError, match=r"one was made with another model; remove it, give --overwrite"):
        segment_slide(address, other, store, OPTIONS)
    with pytest.raises(ConfigError, match=r"one was made with another file or other options"):
        segment_slide(address, model, store, SegmentOptions(windows=OPTIONS.windows, mask="none", region_px=512))
    assert contents(tmp_path) == before
    asked = SegmentOptions(windows=OPTIONS.windows, mask="none", region_px=256, overwrite=True)
    summary, was_there = segment_slide(address, other, store, asked)
    assert not was_there
    assert summary.model.sha256 == "1" * 64
    assert segment_slide(address, other, store, asked)[1]


def test_an_empty_slide_is_an_error_and_leaves_nothing(tmp_path, model):
    path = tmp_path / "glass.tif"
    rng = np.random.default_rng(0)
    PillowImage.fromarray(rng.normal(240, 1, (4200, 4200, 3)).astype(np.uint8)).save(path, dpi=(50800, 50800))
    with pytest.raises(
        DataError, match=r"glass\.tif: no tissue was found; `histoseg segment` with --mask none \(SET=mask=none\)"
    ):
        segment_slide(str(path), model, FileStore(tmp_path / "out"), SegmentOptions(windows=OPTIONS.windows))
    assert not (tmp_path / "out").exists()


def test_a_structure_that_the_model_does_not_find_is_refused(tmp_path, address, model):
    options = SegmentOptions(structures=("nuclei", "vessel"))
    with pytest.raises(ConfigError, match=r"does not find vessel; choose from gland, lumen, nuclei"):
        segment_slide(address, model, FileStore(tmp_path), options)


def test_a_store_without_space_is_an_error_that_a_repetition_goes_on_from(monkeypatch, tmp_path, address, model):
    store, usual = FileStore(tmp_path), FileStore.put

    def put(self, key, body):
        if key.endswith("objects.parquet") and not key.startswith("one/.parts"):
            raise StorageError("cannot write objects.parquet: No space left on device")
        usual(self, key, body)

    monkeypatch.setattr(FileStore, "put", put)
    with pytest.raises(StorageError, match="No space left"):
        segment_slide(address, model, store, OPTIONS)
    assert "one/summary.json" not in store.list()
    monkeypatch.setattr(FileStore, "put", usual)
    monkeypatch.setattr(segmenting, "segment_regions", lambda _, regions: iter([None] * len(regions)))
    assert segment_slide(address, model, store, OPTIONS)[0].counts["nuclei"].all > 100


def test_a_temporary_folder_without_space_is_named(monkeypatch, tmp_path, address, model):
    (tmp_path / "small").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "small"))

    def write(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(finishing, "_write_overviews", write)
    with pytest.raises(StorageError, match=f"^{tmp_path}/small: .*TMPDIR"):
        segment_slide(address, model, FileStore(tmp_path / "out"), OPTIONS)
    assert [*(tmp_path / "small").iterdir()] == []
    assert "one/summary.json" not in FileStore(tmp_path / "out").list()


def test_a_slide_is_named_by_its_whole_path(monkeypatch, tmp_path, address, model):
    folder, _, name = address.rpartition("/")
    monkeypatch.chdir(folder)
    summary, _ = segment_slide(name, model, FileStore(tmp_path), OPTIONS)
    assert summary.address == address
