"""Classes of pixels of a slide of many regions: one file, the same as that of the whole slide at once."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from histoseg.demo.slides import write_slide
from histoseg.errors import DataError
from histoseg.inference import pictures
from histoseg.inference.segment import SegmentOptions, open_work, segment_regions, segment_slide
from histoseg.maps.windows import MarginWindows
from histoseg.models.spec import Heads
from histoseg.models.unet import UNetSpec
from histoseg.models.weights import Model
from histoseg.slides.class_map import ClassMapAbout, cut_tiles
from histoseg.slides.reader import open_slide
from histoseg.store.objects import FileStore

CLASSES = {"lab": ("background", "fat", "muscle")}
OPTIONS = SegmentOptions(windows=MarginWindows(window_px=128, margin_px=16), mask="none", region_px=200)
SIZE = (700, 900)  # Three rows and three columns of tiles; regions of 192 pixels, which tiles of 256 do not divide


@pytest.fixture(scope="module")
def model():
    spec = UNetSpec(width=4)
    network = spec.rebuild(Heads(num_classes={name: len(names) for name, names in CLASSES.items()})).eval()
    return Model(spec=spec, network=network, classes=CLASSES, mpp=0.5, origin="a test", sha256="0" * 64)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("slides") / "one.tif"
    write_slide(path, width=SIZE[1], height=SIZE[0], mpp=0.5, seed=3)
    return str(path)


def find_whole(address, model):
    """The classes of the whole slide in memory, by the windows of the whole."""
    with open_slide(address) as slide:
        image = slide.read(0, 0, *slide.size_px, slide.mpp)
    return model.spec.predict(model.network, image, OPTIONS.windows).semantic_maps["lab"]


def test_the_file_is_the_map_of_the_whole_slide(tmp_path, address, model):
    summary, _ = segment_slide(address, model, FileStore(tmp_path), OPTIONS)
    expected = find_whole(address, model)
    assert len(np.unique(expected)) > 1
    with tifffile.TiffFile(tmp_path / "one" / "lab.tif") as tiff:
        (series,) = tiff.series
        assert [level.shape for level in series.levels] == [SIZE, (350, 450), (175, 225)]
        for number, level in enumerate(series.levels):
            np.testing.assert_array_equal(level.asarray(), expected[:: 2**number, :: 2**number])
        page = tiff.pages.first
        assert page.is_tiled
        assert page.photometric == tifffile.PHOTOMETRIC.PALETTE
        about = ClassMapAbout.model_validate_json(page.description)
    assert about.classes == (*CLASSES["lab"], "not_segmented")
    assert (about.histoseg, about.square_px, about.mpp) == ("pixels", 1, 0.5)
    shares = np.bincount(expected.ravel(), minlength=3) / expected.size
    assert list(summary.pixels["lab"].shares.values()) == pytest.approx(shares.tolist(), abs=1e-4)
    assert {"lab.tif", "lab.png"} < set(summary.files)
    with PillowImage.open(tmp_path / "one" / "lab.png") as own:  # The slide has the network's resolution.
        np.testing.assert_array_equal(np.array(own), expected)


def test_what_the_mask_leaves_out_has_a_class_of_its_own(tmp_path, address, model):
    mask = np.zeros(SIZE, np.uint8)
    mask[:, :300] = 255
    PillowImage.fromarray(mask).save(tmp_path / "mask.png")
    options = replace(OPTIONS, mask=str(tmp_path / "mask.png"))
    summary, _ = segment_slide(address, model, FileStore(tmp_path), options)
    found = tifffile.imread(tmp_path / "one" / "lab.tif")
    expected = find_whole(address, model)
    np.testing.assert_array_equal(found[:, :300], expected[:, :300])
    assert (found[:, 300:] == len(CLASSES["lab"])).all()
    shares = np.bincount(expected[:, :300].ravel(), minlength=3) / expected[:, :300].size
    assert list(summary.pixels["lab"].shares.values()) == pytest.approx(shares.tolist(), abs=1e-4)


def test_a_slide_has_no_pictures(tmp_path, address, model, monkeypatch):
    monkeypatch.setattr(pictures, "SMALL_PX", SIZE[0] * SIZE[1] - 1)
    summary, _ = segment_slide(address, model, FileStore(tmp_path), OPTIONS)
    assert summary.files == ["lab.tif", "mask.png", "objects.parquet", "thumbnail.jpg"]
    assert json.loads((tmp_path / "one" / "summary.json").read_text())["pixels"]["lab"]["classes"] == [*CLASSES["lab"]]


def test_a_damaged_part_is_named(tmp_path, address, model):
    store = FileStore(tmp_path)
    with open_work(address, model, store, OPTIONS) as work:
        for _ in segment_regions(work, work.undone()):
            pass
        key = work.map_key(work.regions()[0], "lab")
    assert store.size(key) is not None
    store.put(key, b"hello")
    with pytest.raises(DataError, match=r"0000-0000\.lab cannot be read .*; delete file://.*/\.parts/"):
        segment_slide(address, model, store, OPTIONS)
    assert "one/summary.json" not in store.list()


@pytest.mark.parametrize("heights", [[1], [256], [100, 300, 5, 0, 700]])
def test_bands_of_any_height_are_cut_into_the_same_tiles(heights):
    whole = np.random.default_rng(0).integers(0, 9, (sum(heights), 300)).astype(np.uint8)
    tiles = [*cut_tiles(iter(np.split(whole, np.cumsum(heights)[:-1])))]
    assert {tile.shape for tile in tiles} == {(256, 256)}
    together = np.concatenate([np.hstack(tiles[i : i + 2]) for i in range(0, len(tiles), 2)])
    assert len(tiles) == 2 * -(-len(whole) // 256)
    np.testing.assert_array_equal(together[: len(whole), :300], whole)
