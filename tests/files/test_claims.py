"""Files that claim what they do not hold, or hold what cannot be read: one line each, before anything is decoded."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import TiffImagePlugin

from histoseg.errors import DataError
from histoseg.files import claims
from histoseg.files.images import read_image
from histoseg.files.labels import read_labels

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)


def bmp_header(width, height):
    return struct.pack("<2sIHHI", b"BM", 54, 0, 0, 54) + struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0
    )


def png_of(width, height, body):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.bmp", bmp_header(100_000, 100_000)),
        ("a.bmp", bmp_header(200, 150)),
        ("a.png", png_of(100_000, 100_000, zlib.compress(bytes(1000)))),
    ],
)
def test_more_pixels_than_the_file_can_hold_are_refused_before_decoding(tmp_path, monkeypatch, name, content):
    def load(self):
        raise AssertionError("decoded")

    monkeypatch.setattr(PillowImage.Image, "load", load)
    (tmp_path / name).write_bytes(content)
    for reader in (read_image, read_labels):
        with pytest.raises(
            DataError, match=rf"{name}: not a readable image \(its header claims \d+ x \d+ pixels, which"
        ):
            reader(tmp_path / name)


def test_what_compresses_best_is_still_read(tmp_path):
    """A page of one colour in each format, of more pixels than are never doubted."""
    side = 5000
    assert 3 * side**2 > claims.HARMLESS_BYTES
    blank = PillowImage.new("RGB", (side, side), "white")
    for name, options in {
        "a.png": {"compress_level": 9},
        "a.jpg": {"quality": 1, "optimize": True, "progressive": True, "subsampling": "4:2:0"},
        "lzw.tif": {"compression": "tiff_lzw"},
        "deflate.tif": {"compression": "tiff_adobe_deflate"},
        "packbits.tif": {"compression": "packbits"},
    }.items():
        blank.save(tmp_path / name, **options)
        assert read_image(tmp_path / name).shape == (side, side, 3), name
        (tmp_path / name).unlink()


@pytest.mark.parametrize("kind", ["EPS", "ICO", "TGA"])
def test_formats_of_no_scanner_are_refused(tmp_path, kind):
    """Pillow would have Ghostscript run the first, whatever the file is called."""
    PillowImage.fromarray(PIXELS).save(tmp_path / "a.png", kind)
    with pytest.raises(DataError, match=r"a\.png: not a readable image .*cannot identify"):
        read_image(tmp_path / "a.png")


def test_more_memory_than_is_free_is_refused_before_decoding(tmp_path, monkeypatch):
    blank = PillowImage.new("L", (3000, 2000))  # 72 MB at 12 bytes a pixel
    blank.save(tmp_path / "a.png")
    monkeypatch.setattr(claims, "available_memory", lambda: 70_000_000)
    with pytest.raises(
        DataError, match=r"a\.png: 3000 x 2000 pixels take 0\.1 GB of memory to read, and 0\.1 GB are free"
    ):
        read_image(tmp_path / "a.png")
    monkeypatch.setattr(claims, "available_memory", lambda: 73_000_000)
    assert read_image(tmp_path / "a.png").shape == (2000, 3000, 3)


def test_a_damaged_byte_of_a_png_is_noticed_where_it_decodes(tmp_path):
    path = tmp_path / "a.png"
    PillowImage.fromarray(PIXELS).save(path, compress_level=0)
    body = bytearray(path.read_bytes())
    body[2000] ^= 1  # Of a pixel
    path.write_bytes(body)
    for reader in (read_image, read_labels):
        with pytest.raises(DataError, match=r"a\.png: not a readable image .*checksum"):
            reader(path)


@pytest.mark.parametrize(
    "error", [MemoryError, OverflowError, zlib.error, struct.error, RecursionError, AssertionError]
)
def test_whatever_a_decoder_raises_is_one_line(tmp_path, monkeypatch, error):
    def load(self):
        raise error("odd\nthing")

    PillowImage.fromarray(PIXELS).save(tmp_path / "a.tif")
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "load", load)
    for reader in (read_image, read_labels):
        with pytest.raises(DataError, match=r"a\.tif: ") as caught:
            reader(tmp_path / "a.tif")
        assert "\n" not in str(caught.value)


def test_a_tiff_without_a_whole_directory_is_damaged(tmp_path):
    """As an interrupted copy leaves it: zeros after the header, which points there."""
    (tmp_path / "a.tif").write_bytes(b"II*\0\x08\0\0\0" + bytes(100))
    with pytest.raises(DataError, match=r"a\.tif: not a readable image .*fetch the file again"):
        read_image(tmp_path / "a.tif")


def test_what_is_not_there_is_named(tmp_path):
    (tmp_path / "folder.png").mkdir()
    for name, reason in (("a.png", "No such file or directory"), ("folder.png", "Is a directory")):
        with pytest.raises(DataError, match=rf"{name}: cannot be read \({reason}\); correct its name"):
            read_image(tmp_path / name)
