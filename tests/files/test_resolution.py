"""Microns per pixel as the formats keep it. Files of other programs are imitated by their documented text and tags."""

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from histoseg.errors import DataError
from histoseg.files.images import read_image
from histoseg.files.resolution import collect_mpp, find_mpp, resolution_caveat, stored_mpp

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 24, 3)).astype(np.uint8)
APERIO = "Aperio Image Library v12.0.15\r\n46000x32914 (240x240) JPEG/RGB Q=30|AppMag = 20|MPP = {}|Left = 25"


def write(path, pixels=PIXELS, **options):
    tifffile.imwrite(path, pixels, photometric="rgb", **{"metadata": None, **options})
    return path


@pytest.mark.parametrize(
    ("size", "unit", "expected"),
    [
        (0.25, "µm", 0.25),
        (250, "nm", 0.25),
        (0.00025, "mm", 0.25),
        (0.25, "", 0.25),
        (25, "µm", None),
        (1, "pixel", None),
    ],
)
def test_ome_states_the_physical_size(tmp_path, size, unit, expected):
    units = {f"PhysicalSize{axis}Unit": unit for axis in "XY"} if unit else {}
    about = {"axes": "YXS", "PhysicalSizeX": size, "PhysicalSizeY": size, **units}
    path = write(tmp_path / "a.ome.tif", metadata=about, resolution=(1, 1))
    assert stored_mpp(path) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("unit", "density", "expected"),
    [
        ("micron", 4, 0.25),
        ("um", 2, 0.5),
        ("\\u00B5m", 4, 0.25),
        ("nm", 0.004, 0.25),
        ("mm", 4000, 0.25),
        ("pixel", 4, None),
    ],
)
def test_imagej_states_a_unit_and_pixels_per_unit(tmp_path, unit, density, expected):
    path = write(tmp_path / "a.tif", imagej=True, metadata={"unit": unit}, resolution=(density, density))
    assert stored_mpp(path) == (None if expected is None else pytest.approx(expected, rel=1e-4))


@pytest.mark.parametrize(("text", "expected"), [("0.4990", 0.499), ("0,4990", None), ("", None), ("1e999", None)])
def test_aperio_states_mpp(tmp_path, text, expected):
    assert stored_mpp(write(tmp_path / "a.svs", description=APERIO.format(text))) == expected


def test_a_description_comes_before_the_tags_for_print(tmp_path):
    """As Aperio's files have it, whose tags say 72 dots per inch."""
    path = write(tmp_path / "a.svs", description=APERIO.format("0.2520"), resolution=(72, 72), resolutionunit="INCH")
    assert stored_mpp(path) == 0.252


def test_the_tags_are_those_of_the_page_that_is_read(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for step, dots in ((4, 10_000), (1, 40_000)):  # Per centimetre: 1 µm, and 0.25 µm
            file.write(
                PIXELS[::step, ::step], photometric="rgb", metadata=None, resolution=(dots, dots), resolutionunit=3
            )
    assert stored_mpp(tmp_path / "a.tif") == pytest.approx(0.25)


@pytest.mark.parametrize("value", ["", "x", "--", "1e", "nan", "inf", "0", "-1", "." * 5])
def test_what_is_no_number_is_no_resolution(tmp_path, value):
    ome = f'<?xml version="1.0"?><OME><Image><Pixels PhysicalSizeX="{value}" SizeX="3"/></Image></OME>'
    for description in (ome, APERIO.format(value)):
        assert stored_mpp(write(tmp_path / "a.tif", description=description)) is None


def test_what_is_read_is_collected(tmp_path):
    first = write(tmp_path / "a.tif", description=APERIO.format("0.25"))
    second = write(tmp_path / "b.tif")
    with collect_mpp() as stated:
        read_image(first)
        read_image(second)
    assert stated == [0.25]
    assert read_image(first).shape == PIXELS.shape  # Nothing is collected outside.


def save(path, mpp=None, **options):
    dots = {} if mpp is None else {"dpi": (25400 / mpp, 25400 / mpp)}
    PillowImage.fromarray(PIXELS).save(path, **dots, **options)
    return path


@pytest.mark.parametrize(
    ("name", "mpp", "expected"),
    [
        ("a.png", 0.5, 0.5),
        ("a.tif", 0.5, 0.5),
        ("a.tif", 0.2527, 0.2527),
        ("a.png", 25400 / 72, None),  # For print
        ("a.tif", 25400 / 300, None),
        ("a.png", 0.04, None),
        ("a.jpg", 0.5, 0.5),
        ("a.bmp", 0.5, 0.5),
        ("a.jpg", 25400 / 300, None),
        ("a.png", None, None),
        ("a.tif", None, None),
    ],
)
def test_a_file_tells_its_resolution_where_it_is_credible(tmp_path, name, mpp, expected):
    found = stored_mpp(save(tmp_path / name, mpp))
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-3))


def test_a_tiff_may_count_per_centimetre(tmp_path):
    tags = ImageFileDirectory_v2()
    tags[282], tags[283], tags[296] = 40000.0, 40000.0, 3  # 10,000 µm / 40,000
    assert stored_mpp(save(tmp_path / "a.tif", tiffinfo=tags)) == pytest.approx(0.25)


def test_pixels_that_are_not_square_have_no_resolution(tmp_path):
    assert stored_mpp(save(tmp_path / "a.png", dpi=(50800, 25400))) is None


def test_a_given_resolution_must_agree_with_the_file(tmp_path):
    path = save(tmp_path / "a.png", 0.5)
    assert find_mpp(path, None) == pytest.approx(0.5, rel=1e-3)
    assert find_mpp(path, 0.52) == 0.52
    with pytest.raises(DataError, match=r"--mpp 0.25, but the file says 0.5 microns per pixel"):
        find_mpp(path, 0.25)


@pytest.mark.parametrize(("image_mpp", "said"), [(0.5, False), (0.52, False), (0.53, True), (0.25, True), (2.0, True)])
def test_a_resolution_is_another_one_from_a_twentieth_on(image_mpp, said):
    assert bool(resolution_caveat(image_mpp, 0.5)) == said
