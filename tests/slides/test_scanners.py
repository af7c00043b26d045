"""Scanners' own formats, which OpenSlide reads."""

import numpy as np
import openslide
import pytest

from histoseg.demo import pyramid
from histoseg.demo.slides import write_slide
from histoseg.errors import DataError
from histoseg.slides.openslide_reader import OpenSlideReader
from histoseg.slides.reader import open_slide
from tests.slides.drawn import piece_of_tissue, save_ndpi, save_philips


@pytest.fixture(scope="module")
def image():
    return piece_of_tissue((768, 1024), np.random.default_rng(0))


def test_philips(tmp_path, image):
    path = tmp_path / "one.tiff"
    save_philips(path, image, 0.25, gaps=(1,))
    assert openslide.OpenSlide.detect_format(path) == "philips"
    with open_slide(path) as slide:
        assert (slide.mpp, slide.size_px, slide.size_at(0.5)) == (0.25, (768, 1024), (384, 512))
        read = slide.read(0, 0, 768, 1024, 0.25)
        assert np.array_equal(slide.read(200, 300, 400, 500, 0.25), read[200:600, 300:800])
    assert (read[:256, 256:512] == 255).all()  # Not scanned
    assert np.abs(read[256:].astype(int) - image[256:]).mean() < 5  # JPEG


def test_hamamatsu(tmp_path, image):
    path = tmp_path / "one.ndpi"
    save_ndpi(path, image, 0.25)
    assert openslide.OpenSlide.detect_format(path) == "hamamatsu"
    with open_slide(path) as slide:
        assert (slide.mpp, slide.size_px, slide.size_at(0.5)) == (0.25, (768, 1024), (384, 512))
        read = slide.read(0, 0, 768, 1024, 0.25)
        assert np.array_equal(slide.read(200, 300, 400, 500, 0.25), read[200:600, 300:800])
    assert np.abs(read.astype(int) - image).mean() < 5


def test_blocks_are_the_same_by_either_reader(tmp_path):
    path = tmp_path / "one.svs"
    write_slide(path, width=1300, height=1100, mpp=0.5)
    reader = OpenSlideReader(path, str(path))
    with open_slide(path) as slide:
        for number, level in enumerate(reader.levels):
            assert (level.height, level.width, level.scale) == (1100 // 4**number, 1300 // 4**number, 4**number)
            high, wide = level.block_height, level.block_width
            for row in range(-(-level.height // high)):
                for column in range(-(-level.width // wide)):
                    block = reader.read_block(number, row, column)
                    box = row * high, column * wide, *block.shape[:2]
                    assert np.array_equal(block, slide.read(*box, 0.5 * 4**number))
    reader.close()


def test_a_level_with_gaps_is_filled_as_aperio_means_it(tmp_path, image):
    """Aperio leaves tiles out of smaller levels; OpenSlide fills them from the finer ones."""
    path = tmp_path / "gaps.svs"
    levels = pyramid.plan_levels(768, 1024, step=2)
    save = {0: image, 1: image[::2, ::2], 2: image[::4, ::4]}

    def tiles(number):
        small = save[number]
        for y in range(0, small.shape[0], 256):
            for x in range(0, small.shape[1], 256):
                tile = np.full((256, 256, 3), 255, np.uint8)
                part = small[y : y + 256, x : x + 256]
                tile[: part.shape[0], : part.shape[1]] = part
                yield b"" if number == 1 and y == x == 0 else pyramid.encode_tile(tile)

    pyramid.write_pyramid(path, levels[:2], tiles, np.ascontiguousarray(image[::4, ::4]), 0.25)
    with open_slide(path) as slide:
        assert isinstance(slide._source, OpenSlideReader)
        read = slide.read(0, 0, 256, 256, 0.5)
    assert read.mean() < 240  # Tissue, not glass
    assert np.abs(read.astype(int) - image[:512:2, :512:2]).mean() < 15


def test_a_damaged_slide_of_a_scanner(tmp_path, image):
    path = tmp_path / "one.tiff"
    save_philips(path, image, 0.25)
    body = bytearray(path.read_bytes())
    start = body.index(b"\xff\xd8\xff", len(body) // 3)
    body[start : start + 3000] = bytes(3000)
    path.write_bytes(body)
    with open_slide(path) as slide, pytest.raises(DataError, match=r"one\.tiff: the region .* level 0"):
        slide.read(0, 0, 768, 1024, 0.25)
