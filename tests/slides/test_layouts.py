"""Slides as other programs write them: pyramids, channels, gaps, transparency, and images that are no slides."""

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from histoseg.errors import DataError
from histoseg.slides.reader import open_slide
from tests.slides.drawn import piece_of_tissue, save_slide


@pytest.fixture(scope="module")
def image():
    return piece_of_tissue((700, 900), np.random.default_rng(4))


@pytest.mark.parametrize("below", [True, False], ids=["SubIFDs", "pages"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "jpeg2000"])
def test_pyramids_of_other_programs(tmp_path, image, below, compression):
    kind = {"compression": compression} | ({"compressionargs": {"level": 0}} if compression == "jpeg2000" else {})
    save_slide(tmp_path / "one.tif", image, mpp=0.5, levels=(2, 4), below=below, **kind)
    with open_slide(tmp_path / "one.tif") as slide:
        assert slide.mpp == pytest.approx(0.5)
        assert [level.scale for level in slide._source.levels] == [1, 2, 4]
        assert np.array_equal(slide.read(0, 0, 700, 900, 0.5), image)
        small = cv2.resize(image, (225, 175), interpolation=cv2.INTER_AREA)
        assert np.array_equal(slide.read(0, 0, 175, 225, 2.0), small)


@pytest.mark.parametrize(("unit", "size"), [("µm", 0.5), ("nm", 500), ("mm", 0.0005)])
def test_ome_tiff_with_units(tmp_path, image, unit, size):
    metadata = {"axes": "YXS", "PhysicalSizeX": size, "PhysicalSizeXUnit": unit}
    metadata |= {"PhysicalSizeY": size, "PhysicalSizeYUnit": unit}
    with tifffile.TiffWriter(tmp_path / "one.ome.tif", bigtiff=True, ome=True) as file:
        options = {"photometric": "rgb", "tile": (128, 128)}
        file.write(image, subifds=1, metadata=metadata, **options)
        file.write(image[::2, ::2], subfiletype=1, **options)
    with open_slide(tmp_path / "one.ome.tif") as slide:
        assert slide.mpp == pytest.approx(0.5)
        assert len(slide._source.levels) == 2
        assert np.array_equal(slide.read(10, 20, 300, 400, 0.5), image[10:310, 20:420])


def test_channels_as_pages_or_planes(tmp_path, image):
    planes = np.moveaxis(image, 2, 0)
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(
        tmp_path / "pages.ome.tif", planes, tile=(128, 128), photometric="minisblack", metadata=metadata, ome=True
    )
    density = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(
        tmp_path / "planes.tif", planes, tile=(128, 128), photometric="rgb", planarconfig="separate", **density
    )
    for name in ("pages.ome.tif", "planes.tif"):
        with open_slide(tmp_path / name) as slide:
            assert np.array_equal(slide.read(0, 0, 700, 900, 0.5), image), name
    with open_slide(tmp_path / "pages.ome.tif") as slide:
        assert slide.notes == {
            "images of three grey pages, which the file calls channels: read as red, green and blue": 1
        }


def test_transparent_and_absent_parts_are_white(tmp_path, image):
    alpha = np.full((700, 900, 1), 255, np.uint8)
    alpha[:100] = 0
    save_slide(tmp_path / "alpha.tif", np.dstack([image, alpha]), extrasamples=["unassalpha"])
    with open_slide(tmp_path / "alpha.tif") as slide:
        read = slide.read(0, 0, 700, 900, 0.5)
    assert (read[:100] == 255).all()
    assert np.array_equal(read[100:], image[100:])


def test_a_tile_that_is_not_stored_is_white(tmp_path, image):
    tiles = [image[y : y + 256, x : x + 256].tobytes() for y in (0, 256) for x in (0, 256)]
    tiles[1] = b""
    path = tmp_path / "gap.tif"
    density = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(
        path, iter(tiles), shape=(512, 512, 3), dtype=np.uint8, tile=(256, 256), photometric="rgb", **density
    )
    with open_slide(path) as slide:
        read = slide.read(0, 0, 512, 512, 0.5)
    assert (read[:256, 256:] == 255).all()
    assert np.array_equal(read[256:, :], image[256:512, :512])


def test_plain_images_are_slides(tmp_path, image):
    Image.fromarray(image).save(tmp_path / "one.png")
    Image.fromarray(image).save(tmp_path / "two.tif")  # Strips, no pyramid
    for name in ("one.png", "two.tif"):
        with open_slide(tmp_path / name, 0.5) as slide:
            assert np.array_equal(slide.read(30, 40, 500, 600, 0.5), image[30:530, 40:640])
            assert slide.read(0, 0, *slide.size_at(1.0), 1.0).shape == (350, 450, 3)


def test_other_pages_are_thumbnails_or_ambiguous(tmp_path, image):
    stack = np.stack([image, image[::-1]])
    density = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "stack.tif", stack, tile=(128, 128), photometric="rgb", **density)
    with pytest.raises(DataError, match=r"stack\.tif: 2 pages of 900 x 700, 900 x 700"):
        open_slide(tmp_path / "stack.tif")


def test_sixteen_bits_follow_the_rule_for_images(tmp_path, image):
    density = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    options = {"tile": (128, 128), "photometric": "rgb", **density}
    tifffile.imwrite(tmp_path / "deep.tif", image.astype(np.uint16) * 257, **options)
    tifffile.imwrite(tmp_path / "twelve.tif", image.astype(np.uint16) * 16, **options)
    with open_slide(tmp_path / "deep.tif") as slide:
        assert np.array_equal(slide.read(0, 0, 700, 900, 0.5), image)
        assert "16 bits" in next(iter(slide.notes))
    with pytest.raises(DataError, match="12 bits"):
        open_slide(tmp_path / "twelve.tif")
