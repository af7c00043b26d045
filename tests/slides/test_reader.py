"""Regions of slides: the same pixels whatever is read, at any resolution, from every layout of file."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import openslide
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from histoseg.demo.slides import write_slide
from histoseg.errors import ConfigError, DataError
from histoseg.slides.reader import Slide, open_slide
from tests.beside import real_data
from tests.slides.drawn import piece_of_tissue, save_slide

WSI = real_data() / "WSI"
needs_slides = pytest.mark.skipif(not WSI.is_dir(), reason="set HISTOSEG_REAL_DATA to a folder with WSI/*.svs")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("slides") / "one.svs"
    write_slide(path, width=2300, height=1700, mpp=0.25, seed=2)
    return path


@pytest.fixture(scope="module")
def slide(path):
    with open_slide(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def image():
    return piece_of_tissue((700, 900), np.random.default_rng(4))


def test_a_slide_says_what_it_is(slide, path):
    assert isinstance(slide, Slide)
    assert (slide.name, slide.address, slide.size_px, slide.mpp) == ("one", str(path), (1700, 2300), 0.25)
    assert slide.notes == {}


def test_sizes_follow_the_resolution(slide):
    assert slide.size_at(0.25) == (1700, 2300)
    assert slide.size_at(0.5) == (850, 1150)
    assert slide.size_at(0.4) == (1062, 1438)  # 1062.5 and 1437.5, to the even number
    assert slide.size_at(1.0) == (425, 575)  # A level
    assert slide.size_at(4.0) == (106, 143)  # A level, cut from 106.25 and 143.75
    assert slide.size_at(2.0) == (212, 288)  # None: 212.5 and 287.5
    assert slide.scale_at(0.5) == 2.0
    assert slide.mpp_at(0.5) == 0.5


def test_nearly_the_same_resolution_is_taken_as_it_is(slide):
    """Within 2.5 percent, as whole images are."""
    for mpp in (0.245, 0.255):
        assert slide.size_at(mpp) == slide.size_px
        assert slide.mpp_at(mpp) == 0.25
        assert np.array_equal(slide.read(100, 200, 50, 60, mpp), slide.read(100, 200, 50, 60, 0.25))
    assert slide.size_at(0.257) != slide.size_px
    assert slide.mpp_at(1.01) == 1.0


def test_the_base_is_what_openslide_reads(slide, path):
    with openslide.OpenSlide(path) as reference:
        for number, (width, height) in enumerate(reference.level_dimensions):
            mpp = 0.25 * 4**number
            expected = np.asarray(reference.read_region((0, 0), number, (width, height)))[:, :, :3]
            assert np.array_equal(slide.read(0, 0, height, width, mpp), expected)


@needs_slides
@pytest.mark.parametrize("name", ["CMU-1-Small-Region", "TCGA-CR-7395-01A-01-TS1"], ids=["JPEG", "JPEG 2000"])
def test_real_slides_have_the_pixels_of_openslide(name):
    with openslide.OpenSlide(WSI / f"{name}.svs") as reference:
        states_mpp = openslide.PROPERTY_NAME_MPP_X in reference.properties
        with open_slide(WSI / f"{name}.svs", None if states_mpp else 0.5) as slide:
            assert type(slide._source).__name__ == "TiffReader"
            for number, (width, height) in enumerate(reference.level_dimensions):
                expected = np.asarray(reference.read_region((0, 0), number, (width, height)))[:, :, :3]
                assert np.array_equal(slide.read(0, 0, height, width, slide.mpp * 2**number), expected)


@needs_slides
def test_resolutions_of_real_slides():
    with open_slide(WSI / "CMU-1-Small-Region.svs") as slide:
        assert slide.mpp == 0.499  # As its description says.
    with pytest.raises(DataError, match=r"TCGA-CR-7395-01A-01-TS1\.svs.*--mpp"):
        open_slide(WSI / "TCGA-CR-7395-01A-01-TS1.svs")


MPPS = (0.1, 0.25, 0.33, 0.5, 0.77, 1.0, 2.7, 9.0)


@pytest.fixture(scope="module")
def wholes(path):
    with open_slide(path) as slide:
        return {mpp: slide.read(0, 0, *slide.size_at(mpp), mpp) for mpp in MPPS}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(MPPS), st.tuples(*[st.floats(0, 1)] * 4))
def test_a_region_is_that_part_of_the_whole(slide, wholes, mpp, parts):
    height, width = wholes[mpp].shape[:2]
    top, left = int(parts[0] * (height - 1)), int(parts[1] * (width - 1))
    high, wide = (
        1 + int(part * (side - 1)) for part, side in zip(parts[2:], (height - top, width - left), strict=True)
    )
    region = slide.read(top, left, high, wide, mpp)
    assert np.array_equal(region, wholes[mpp][top : top + high, left : left + wide])


def test_a_cache_too_small_for_one_block_changes_nothing(path, wholes):
    with open_slide(path, cache_bytes=1) as slide:
        assert np.array_equal(slide.read(33, 44, 500, 600, 0.5), wholes[0.5][33:533, 44:644])


def test_threads_read_one_slide(path, wholes):
    with open_slide(path, cache_bytes=2**20) as slide, ThreadPoolExecutor(8) as pool:

        def is_right(seed):
            rng = np.random.default_rng(seed)
            mpp = MPPS[seed % len(MPPS)]
            height, width = wholes[mpp].shape[:2]
            top, left = int(rng.integers(height)), int(rng.integers(width))
            high, wide = min(300, height - top), min(300, width - left)
            expected = wholes[mpp][top : top + high, left : left + wide]
            return np.array_equal(slide.read(top, left, high, wide, mpp), expected)

        assert all(pool.map(is_right, range(64)))


def test_each_block_is_decoded_once_by_rows_with_overlap(path):
    with open_slide(path) as slide:
        seen, decode = [], slide._source.read_block
        slide._source.read_block = lambda *key: (seen.append(key), decode(*key))[1]
        for top in range(0, 1700 - 448, 288):
            for left in range(0, 2300 - 448, 288):
                slide.read(top, left, 448, 448, 0.25)
    assert len(seen) == len(set(seen)) == 7 * 9  # 1,600 and 2,176 of 1,700 x 2,300 pixels in tiles of 256


def test_a_flat_slide_stays_flat(tmp_path):
    save_slide(tmp_path / "flat.tif", np.full((300, 411, 3), 201, np.uint8), mpp=0.25)
    with open_slide(tmp_path / "flat.tif") as slide:
        for mpp in (0.1, 0.37, 0.5, 3.3):
            assert (slide.read(0, 0, *slide.size_at(mpp), mpp) == 201).all()


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (-1, 0, 5, 5), (1696, 0, 5, 5), (0, 2296, 5, 5)])
def test_a_box_outside_is_refused(slide, box):
    with pytest.raises(ValueError, match="2300 x 1700"):
        slide.read(*box, 0.25)


def test_a_thumbnail_is_the_whole_slide(slide):
    thumbnail = slide.read_thumbnail(512)
    assert thumbnail.shape == (378, 512, 3)  # 1700 / (2300 / 512) = 378.4
    reference = cv2.resize(slide.read(0, 0, 425, 575, 1.0), (512, 378), interpolation=cv2.INTER_AREA)
    assert np.abs(thumbnail.astype(int) - reference).mean() < 3
    assert slide.read_thumbnail(10**6).shape == (1700, 2300, 3)  # Never larger


def test_a_resolution_is_needed_and_must_agree(tmp_path, image, path):
    Image.fromarray(image).save(tmp_path / "one.png")
    with pytest.raises(DataError, match=r"one\.png.*--mpp"):
        open_slide(tmp_path / "one.png")
    with pytest.raises(DataError, match=r"--mpp 0\.5.*0\.25"):
        open_slide(path, 0.5)
    with open_slide(path, 0.2505) as slide:
        assert slide.mpp == 0.2505


@pytest.mark.parametrize("mpp", [0.0, -1.0, 40.0, float("nan")])
def test_a_resolution_that_no_slide_has_is_refused(path, mpp):
    with pytest.raises(ConfigError, match=r"between 0\.05 and 5 microns"):
        open_slide(path, mpp)


def test_openslide_may_be_lacking(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(ConfigError, match=r"pip install 'histoseg\[train\]"):
        open_slide(path)


def test_closing_ends_the_threads_of_a_slide(path):
    before = threading.active_count()
    with open_slide(path) as slide:
        slide.read(0, 0, 1000, 1000, 0.25)
        assert threading.active_count() > before
    assert threading.active_count() == before
