"""Maps of tissue written and read, and opened by tifffile, Pillow and OpenSlide, which know nothing of them."""

import json

import numpy as np
import openslide
import pytest
import tifffile
from jaxtyping import TypeCheckError
from PIL import Image as PillowImage

from histoseg.errors import DataError, StorageError
from histoseg.slides.tissue_map import read_tissue, write_tissue
from tests.full_disk import room_for

CLASSES, COLOURS = ("background", "muscle", "stroma"), ("#FFFFFF", "#E69F00", "#0072B2")
RGB = [(255, 255, 255), (0xE6, 0x9F, 0x00), (0x00, 0x72, 0xB2)]


def drawn(height, width):
    rows, columns = np.indices((height, width))
    return ((rows // 50 + columns // 70) % 3).astype(np.uint8)


def write(path, class_map, **changed):
    write_tissue(path, class_map, **({"classes": CLASSES, "colours": COLOURS, "square_px": 288, "mpp": 0.25} | changed))


@pytest.mark.parametrize("size", [(1, 1), (40, 300), (600, 1100)])
def test_what_is_written_comes_back(tmp_path, size):
    path = tmp_path / "slide" / "tissue.tif"
    write(path, drawn(*size))
    found = read_tissue(path)
    np.testing.assert_array_equal(found.class_map, drawn(*size))
    assert (found.classes, found.colours, found.square_px, found.mpp) == (CLASSES, COLOURS, 288, 0.25)


def test_tifffile_finds_levels_tiles_and_resolution(tmp_path):
    path = tmp_path / "tissue.tif"
    write(path, drawn(600, 1100))
    with tifffile.TiffFile(path) as tiff:
        (series,) = tiff.series
        assert [level.shape for level in series.levels] == [(600, 1100), (300, 550), (150, 275), (75, 138)]
        for number, level in enumerate(series.levels):
            np.testing.assert_array_equal(level.asarray(), drawn(600, 1100)[:: 2**number, :: 2**number])
        page = tiff.pages.first
        assert page.is_tiled
        assert page.photometric == tifffile.PHOTOMETRIC.PALETTE
        across, unit = page.tags["XResolution"].value, page.tags["ResolutionUnit"].value
        assert unit == tifffile.RESUNIT.CENTIMETER
        assert 10_000 / (across[0] / across[1]) == pytest.approx(72)  # Microns: 288 pixels of 0.25
        assert json.loads(page.description)["classes"] == list(CLASSES)


def test_pillow_sees_the_colours(tmp_path):
    path = tmp_path / "tissue.tif"
    write(path, drawn(100, 300))
    with PillowImage.open(path) as image:
        seen = np.array(image.convert("RGB"))
    np.testing.assert_array_equal(seen, np.array(RGB, np.uint8)[drawn(100, 300)])


def test_openslide_opens_it(tmp_path):
    path = tmp_path / "tissue.tif"
    write(path, drawn(600, 1100))
    with openslide.open_slide(path) as slide:
        assert slide.dimensions == (1100, 600)
        seen = np.array(slide.read_region((0, 0), 0, (1100, 600)).convert("RGB"))
    np.testing.assert_array_equal(seen, np.array(RGB, np.uint8)[drawn(600, 1100)])


def test_what_is_not_such_a_file_is_one_line(tmp_path):
    path = tmp_path / "tissue.tif"
    write(path, drawn(600, 600))
    body = path.read_bytes()
    for name, wrong in (("text", b"hello"), ("empty", b""), ("cut", body[:300])):
        (tmp_path / name).write_bytes(wrong)
        with pytest.raises(DataError, match=f"{name}: ") as raised:
            read_tissue(tmp_path / name)
        assert "\n" not in str(raised.value)
    tifffile.imwrite(tmp_path / "other.tif", drawn(5, 5))
    with pytest.raises(DataError, match="does not name classes"):
        read_tissue(tmp_path / "other.tif")
    with pytest.raises(DataError, match="nowhere"):
        read_tissue(tmp_path / "nowhere")


def test_no_space_left_is_one_line(tmp_path):
    with room_for(10_000), pytest.raises(StorageError, match=r"cannot write .*tissue\.tif: .*[Ff]ile too large"):
        write(tmp_path / "tissue.tif", np.random.default_rng(0).integers(0, 3, (900, 900)).astype(np.uint8))
    assert not [*tmp_path.iterdir()]


def test_classes_without_a_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="2 classes, 3 colours"):
        write(tmp_path / "tissue.tif", drawn(9, 9), classes=CLASSES[:2])
    with pytest.raises(ValueError, match="up to 9"):
        write(tmp_path / "tissue.tif", np.full((3, 3), 9, np.uint8))


@pytest.mark.parametrize("wrong", [np.zeros((3, 3), np.int32), np.zeros((3, 3, 3), np.uint8)])
def test_other_than_maps_of_classes_are_refused(tmp_path, wrong):
    with pytest.raises(TypeCheckError):
        write(tmp_path / "tissue.tif", wrong)
