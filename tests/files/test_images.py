"""What image files may contain: pages, orientation, transparency, depth."""

import re
import struct

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from histoseg.errors import DataError
from histoseg.files.images import read_image
from histoseg.files.labels import read_labels
from histoseg.files.notes import collect

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (30, 40, 3)).astype(np.uint8)
PIXELS[0, 0] = 255  # Glass, as in any image of tissue
FULL = PIXELS.astype(np.uint16) * 257  # The same in 16 bits: 255 is 65535.
SIXTEEN = "images of 16 bits per channel, scaled to 8 bits: 65535 is read as 255"


def read(path):
    """The image, and the notes of reading it."""
    with collect() as notes:
        image = read_image(path)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    return image, dict(notes)


def save(path, pixels, **options):
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels, **{"photometric": "rgb", **options})
    elif pixels.dtype == np.uint16 and pixels.ndim == 3:
        order = [2, 1, 0, *range(3, pixels.shape[2])]
        assert cv2.imwrite(str(path), pixels[:, :, order])
    else:
        PillowImage.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.webp"])
def test_plain_images_are_read_without_a_note(tmp_path, name):
    options = {"lossless": True} if name == "a.webp" else {}
    image, notes = read(save(tmp_path / name, PIXELS, **options))
    np.testing.assert_array_equal(image, PIXELS)
    assert notes == {}


# 16 bits


@pytest.mark.parametrize(
    ("name", "pixels", "options"),
    [
        ("a.png", FULL, {}),
        ("a.png", FULL[:, :, 0], {}),
        ("a.tif", FULL, {}),
        ("a.tif", FULL, {"compression": "zlib", "predictor": True, "byteorder": ">"}),
        ("a.tif", np.moveaxis(FULL, 2, 0), {"planarconfig": "separate"}),
        ("a.tif", FULL[:, :, 0], {"photometric": "minisblack"}),
        ("a.tif", 65535 - FULL[:, :, 0], {"photometric": "miniswhite"}),
    ],
)
def test_sixteen_bits_of_full_range_become_eight(tmp_path, name, pixels, options):
    image, notes = read(save(tmp_path / name, pixels, **options))
    colour = pixels.ndim == 3
    np.testing.assert_array_equal(image, PIXELS if colour else PIXELS[:, :, [0, 0, 0]])
    assert notes == {SIXTEEN: 1}


@pytest.mark.parametrize(
    ("name", "bits"), [("16.ppm", 16), ("12.ppm", 12), ("plain.ppm", 12), ("16.jp2", 16), ("8.ppm", 8), ("8.jp2", 8)]
)
def test_colours_of_more_than_8_bits_are_refused_in_formats_that_hide_them(tmp_path, name, bits):
    path, highest = tmp_path / name, 2**bits - 1
    if name == "plain.ppm":
        path.write_text("P3 2 1 4095 4095 1 2 3 4 5")
    elif path.suffix == ".ppm":
        pixels = np.full((30, 40, 3), 200, ">u2" if bits > 8 else "u1")
        path.write_bytes(f"P6 40 30 {highest}\n".encode() + pixels.tobytes())
    else:
        cv2.imwrite(str(path), np.full((256, 256, 3), 200, np.uint16 if bits > 8 else np.uint8))
    if bits == 8:
        assert (read_image(path) == 200).all()
        return
    with pytest.raises(DataError, match=rf"{name}: colours of {bits} bits in \w+; save it as 8-bit RGB"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(("bits", "white"), [(8, 255), (10, 1023), (12, 4095), (14, 16383), (15, 32767)])
def test_fewer_bits_in_a_file_of_sixteen_are_refused(tmp_path, name, grey, bits, white):
    """They would become a dark image: 12 bits one of at most 15 of 255."""
    pixels = (FULL.astype(np.float64) * white / 65535).round().astype(np.uint16)
    path = save(tmp_path / name, pixels[:, :, 0] if grey else pixels, **({"photometric": "minisblack"} if grey else {}))
    with pytest.raises(
        DataError, match=rf"{path.name}: .* no value above {white}, as of {bits} bits.* 255 / {white}\)"
    ):
        read_image(path)


def test_the_range_is_that_of_colours_and_not_of_alpha(tmp_path):
    dark = np.dstack([FULL // 16, np.full((30, 40), 65535, np.uint16)])
    with pytest.raises(DataError, match="no value above 4095"):
        read_image(save(tmp_path / "a.png", dark))


@pytest.mark.parametrize(
    "pixels", [PIXELS / np.float32(255), (PIXELS / np.float32(255))[:, :, 0], PIXELS[:, :, 0].astype(np.uint32) * 9]
)
def test_floats_and_other_types_are_refused(tmp_path, pixels):
    path = save(tmp_path / "a.tif", pixels, **({"photometric": "minisblack"} if pixels.ndim == 2 else {}))
    with pytest.raises(DataError, match=rf"a\.tif: .*{pixels.dtype} .*save it as 8-bit RGB, white as 255"):
        read_image(path)


def test_floats_cut_to_whole_numbers_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.png: no value above 1"):
        read_image(save(tmp_path / "a.png", (PIXELS / 255).astype(np.uint8)))


def test_a_compression_that_cannot_be_read_is_named(tmp_path):
    cv2.imwrite(str(tmp_path / "a.tif"), FULL)  # As LZW
    try:
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), PIXELS[:, :, ::-1])  # With imagecodecs installed
    except DataError as error:
        assert re.search(r"a\.tif: pixels of type uint16 compressed by LZW; install .*imagecodecs", str(error))  # noqa: PT017


def test_an_unknown_compression_of_bytes_is_named(tmp_path):
    path = save(tmp_path / "a.tif", PIXELS, metadata=None)
    body = path.read_bytes()
    tag = struct.pack("<HHI", 259, 3, 1)
    path.write_bytes(body.replace(tag + struct.pack("<I", 1), tag + struct.pack("<I", 33005)))
    with pytest.raises(DataError, match=r"a\.tif: .* compressed by APERIO_JP2000_RGB; save it uncompressed"):
        read_image(path)


def test_the_end_of_a_deep_tiff_is_missed(tmp_path):
    """tifffile would fill it with zeros."""
    path = save(tmp_path / "a.tif", FULL)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"a\.tif"):
        read_image(path)


# Transparency


@pytest.mark.parametrize(("name", "scale"), [("a.png", 1), ("a.tif", 1), ("a.png", 257), ("a.tif", 257)])
def test_transparent_pixels_are_white(tmp_path, name, scale):
    alpha = np.full((30, 40), 255, np.uint8)
    alpha[:10], alpha[10] = 0, 51  # 51 is a fifth.
    pixels = np.dstack([PIXELS, alpha]).astype(np.uint16 if scale > 1 else np.uint8) * scale
    options = {"extrasamples": ["unassalpha"]} if name == "a.tif" else {}
    image, notes = read(save(tmp_path / name, pixels.astype(np.uint16 if scale > 1 else np.uint8), **options))
    assert (image[:10] == 255).all()
    np.testing.assert_allclose(image[10], PIXELS[10] * 0.2 + 255 * 0.8, atol=0.51)
    np.testing.assert_array_equal(image[11:], PIXELS[11:])
    assert notes.pop("transparent pixels read as white glass") == 11 * 40
    assert notes == ({SIXTEEN: 1} if scale > 1 else {})


def test_transparency_of_a_palette_and_of_one_colour(tmp_path):
    values = np.array([[0, 0], [0, 1]], np.uint8)
    save(tmp_path / "grey.png", values * 200, transparency=0)
    palette = PillowImage.fromarray(values).convert("P")
    palette.putpalette([0, 0, 0, 200, 200, 200])
    palette.save(tmp_path / "palette.png", transparency=0)
    for name in ("grey.png", "palette.png"):
        image, notes = read(tmp_path / name)
        assert image[:, :, 0].tolist() == [[255, 255], [255, 200]]
        assert notes == {"transparent pixels read as white glass": 3}


def test_an_image_of_nothing_but_transparent_pixels_is_refused(tmp_path):
    """As programs write that leave the fourth byte of a pixel 0, and mean nothing by it."""
    with pytest.raises(DataError, match=r"a\.png: every pixel is transparent"):
        read_image(save(tmp_path / "a.png", np.dstack([PIXELS, np.zeros((30, 40), np.uint8)])))


def test_opaque_alpha_needs_no_note(tmp_path):
    image, notes = read(save(tmp_path / "a.png", np.dstack([PIXELS, np.full((30, 40), 255, np.uint8)])))
    np.testing.assert_array_equal(image, PIXELS)
    assert notes == {}


# Orientation: what the eight numbers mean is TIFF 6.0, p. 36, here by hand for an image of 2 rows and 3 columns.
UPRIGHT = {
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[4, 1], [5, 2], [6, 3]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[3, 6], [2, 5], [1, 4]],
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(("name", "deep"), [("a.png", False), ("a.tif", False), ("a.tif", True), ("a.webp", False)])
def test_orientation_is_applied_in_every_format(tmp_path, orientation, name, deep):
    pixels = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)[:, :, None].repeat(3, axis=2) * 40
    exif = PillowImage.Exif()
    exif[274] = orientation
    if name == "a.tif":
        tags = [(274, "H", 1, orientation, True)]
        save(tmp_path / name, pixels.astype(np.uint16) * 257 if deep else pixels, extratags=tags)
    else:
        save(tmp_path / name, pixels, exif=exif, **({"lossless": True} if name == "a.webp" else {}))
    image, notes = read(tmp_path / name)
    np.testing.assert_array_equal(image[:, :, 0], np.array(UPRIGHT[orientation]) * 40)
    assert [count for text, count in notes.items() if "orientation tag" in text] == [1]


def test_orientation_of_a_deep_png_and_of_a_mask(tmp_path):
    exif = PillowImage.Exif()
    exif[274] = 6
    PillowImage.fromarray(FULL[:, :, 0]).save(tmp_path / "deep.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png")[:, :, 0], np.rot90(PIXELS[:, :, 0], -1))
    PillowImage.fromarray(PIXELS[:, :, 0]).save(tmp_path / "mask.png", exif=exif)
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.png"), np.rot90(PIXELS[:, :, 0], -1))


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("mode", ["L", "I;16", "P", "RGBA"])
def test_orientation_of_a_tiff_that_pillow_maps_from_the_disk(tmp_path, orientation, mode):
    stored = PillowImage.fromarray(np.array([[1, 2, 3], [4, 5, 6]], np.uint8))
    stored = PillowImage.fromarray(np.array(stored, np.uint16)) if mode == "I;16" else stored.convert(mode)
    stored.save(tmp_path / "a.tif", tiffinfo={274: orientation})
    assert read_labels(tmp_path / "a.tif").tolist() == UPRIGHT[orientation]


# Pages


def write_pages(path, *pages, **options):
    with tifffile.TiffWriter(path) as file:
        for page in pages:
            file.write(page, photometric="rgb", metadata=None, **options)
    return path


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("deep", [False, True])
def test_the_largest_page_is_the_image(tmp_path, place, deep):
    pages = [PIXELS[::2, ::2] // 2, PIXELS[::4, ::4] // 2]
    pages.insert(place, PIXELS)
    image, notes = read(
        write_pages(tmp_path / "a.tif", *(page.astype(np.uint16) * 257 if deep else page for page in pages))
    )
    np.testing.assert_array_equal(image, PIXELS)
    assert [count for text, count in notes.items() if "pages left out" in text] == [2]


def test_the_picture_of_the_slide_in_a_file_of_aperio_is_not_the_image(tmp_path):
    """It is wider than half of a small image, but named a small copy."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page, kind in ((PIXELS, 0), (PIXELS[::2, ::2], 0), (PIXELS[:12, :35], 9)):
            file.write(page, photometric="rgb", metadata=None, subfiletype=kind)
    image, notes = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image, PIXELS)
    assert [count for text, count in notes.items() if "pages left out" in text] == [2]


@pytest.mark.parametrize(
    ("pages", "sizes"),
    [
        ([PIXELS * 0, PIXELS], "2 pages of 40 x 30, 40 x 30"),
        ([PIXELS, PIXELS[:20, :30]], "2 pages of 40 x 30, 30 x 20"),
        ([PIXELS] * 12, "12 pages of .* 40 x 30 and 4 more"),
    ],
)
def test_pages_of_similar_size_are_refused(tmp_path, pages, sizes):
    path = write_pages(tmp_path / "a.tif", *pages)
    for reader in (read_image, read_labels):
        with pytest.raises(DataError, match=rf"a\.tif: {sizes} pixels, and which is the image is not stated"):
            reader(path)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"description": "ImageJ=1.54f\nimages=90\nslices=90\n"}, "the first of 90 slices"),  # Of more than 4 GB
        ({"subfiletype": 1}, "a small copy of another image"),
    ],
)
def test_a_page_that_is_a_part_of_something_is_refused(tmp_path, options, what):
    path = save(tmp_path / "a.tif", PIXELS, metadata=None, **options)
    for reader in (read_image, read_labels):
        with pytest.raises(DataError, match=rf"a\.tif: its only page is {what}"):
            reader(path)


def test_an_animation_is_refused(tmp_path):
    first = PillowImage.fromarray(PIXELS)
    for name in ("a.gif", "a.png"):
        first.save(tmp_path / name, save_all=True, append_images=[PillowImage.fromarray(255 - PIXELS)])
        with pytest.raises(DataError, match="2 pages of 40 x 30, 40 x 30"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("kind", [{"imagej": True}, {"ome": True}])
def test_three_grey_channels_are_red_green_and_blue(tmp_path, kind, deep):
    channels = np.moveaxis(FULL if deep else PIXELS, 2, 0)
    tifffile.imwrite(tmp_path / "a.tif", channels, photometric="minisblack", metadata={"axes": "CYX"}, **kind)
    image, notes = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image, PIXELS)
    assert [count for text, count in notes.items() if "three grey pages" in text] == [1]


@pytest.mark.parametrize(
    ("axes", "kind"),
    [("ZYX", {"imagej": True}), ("TYX", {"imagej": True}), ("ZYX", {"ome": True}), ("TYX", {"ome": True})],
)
def test_depths_and_times_are_no_channels(tmp_path, axes, kind):
    planes = np.moveaxis(PIXELS, 2, 0)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="minisblack", metadata={"axes": axes}, **kind)
    with pytest.raises(DataError, match="3 pages of 40 x 30, 40 x 30, 40 x 30"):
        read_image(tmp_path / "a.tif")


def test_levels_of_an_ome_pyramid_are_not_pages(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        file.write(PIXELS, photometric="rgb", subifds=1)
        file.write(PIXELS[::2, ::2], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(read(tmp_path / "a.ome.tif")[0], PIXELS)
