"""Microns per pixel as the formats keep it. Files of other programs are imitated by their documented text and tags."""

import numpy as np
import pytest
import tifffile

from histoseg.files.images import read_image
from histoseg.files.resolution import collect_mpp, stored_mpp

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
