"""Made-up slides: they open everywhere, and show the objects that they are said to show."""

import cv2
import numpy as np
import openslide
import pytest
import tifffile

from histoseg.demo.slides import TISSUE_SHARE, draw_slide, write_slide


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    path = tmp_path_factory.mktemp("slides") / "one.svs"
    return path, write_slide(path, width=1300, height=1100, mpp=0.5, seed=3)


def test_openslide_and_tifffile_read_the_same_pixels(slide):
    path, _ = slide
    with openslide.OpenSlide(path) as opened, tifffile.TiffFile(path) as file:
        assert opened.properties["openslide.vendor"] == "aperio"
        assert float(opened.properties["openslide.mpp-x"]) == 0.5
        assert opened.level_dimensions == ((1300, 1100), (325, 275))
        assert [level.shape for level in file.series[0].levels] == [(1100, 1300, 3), (275, 325, 3)]
        for number, size in enumerate(opened.level_dimensions):
            pixels = np.asarray(opened.read_region((0, 0), number, size))[:, :, :3]
            assert np.array_equal(pixels, file.series[0].levels[number].asarray())


def test_levels_show_the_same(slide):
    """A level is the full image averaged, but for what JPEG loses."""
    with tifffile.TiffFile(slide[0]) as file:
        full, small = (level.asarray() for level in file.series[0].levels)
    averaged = cv2.resize(full[:1100, :1300], (325, 275), interpolation=cv2.INTER_AREA)
    assert np.abs(averaged.astype(int) - small).mean() < 3


def test_the_objects_drawn_are_counted(slide):
    _, drawn = slide
    for structure in ("gland", "lumen", "nuclei"):
        present = np.unique(drawn.instance_map(structure))
        assert np.array_equal(present, np.arange(drawn.counts[structure] + 1)), structure
    assert drawn.counts["nuclei"] > 100 < 1000 * drawn.counts["gland"]


def test_no_object_meets_that_of_another_square(slide):
    _, drawn = slide
    edges = np.arange(0, 1024, drawn.square_px)
    for structure in ("gland", "lumen", "nuclei"):
        whole = drawn.instance_map(structure)
        assert not whole[edges].any()
        assert not whole[:, edges].any()


def test_objects_lie_where_the_pixels_show_them(slide):
    """Nuclei are the darkest in red, lumina the brightest tissue."""
    path, drawn = slide
    with tifffile.TiffFile(path) as file:
        red = file.pages[0].asarray()[:, :, 0].astype(float)
    nuclei, lumina, glands = (drawn.instance_map(name) > 0 for name in ("nuclei", "lumen", "gland"))
    assert red[nuclei].mean() + 40 < red[glands & ~nuclei & ~lumina].mean() < red[lumina].mean() - 20
    assert not (lumina & ~glands).any()


def test_glass_is_bright_where_the_layout_has_none(slide):
    path, drawn = slide
    with tifffile.TiffFile(path) as file:
        image = file.pages[0].asarray()
    shows = np.kron(drawn.tissue, np.ones((drawn.square_px,) * 2, bool))
    squares = image[: shows.shape[0], : shows.shape[1]]
    assert squares[~shows].min() > 220 if (~shows).any() else True
    assert squares[shows].mean() < 220
    assert image[shows.shape[0] :].min() > 220


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        write_slide(tmp_path / name, width=600, height=300, seed=seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_density_multiplies_the_cells_between_glands():
    few, many = (draw_slide(width=512, height=512, mpp=0.5, seed=1, density=each).counts for each in (0.5, 2.0))
    assert many["nuclei"] > 1.8 * few["nuclei"]


def test_a_large_slide_has_the_layout_of_a_small_share_of_work():
    drawn = draw_slide(width=28451, height=56782, mpp=0.5, seed=1, density=1.0)  # The paper's slide
    assert drawn.layout.shape == (110, 55)
    assert drawn.tissue.mean() == pytest.approx(TISSUE_SHARE, abs=1e-3)
    assert drawn.counts["nuclei"] > 10**6


def test_an_object_has_the_same_size_at_another_resolution():
    coarse, fine = (draw_slide(width=1024, height=1024, mpp=mpp, seed=1, density=1.0) for mpp in (0.5, 0.25))
    sizes = [
        np.median(np.bincount(drawn.fields[0].nuclei.instance_map.ravel())[1:]) * drawn.mpp**2
        for drawn in (coarse, fine)
    ]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.15)  # In square microns


def test_a_slide_smaller_than_a_tile_is_refused(tmp_path):
    with pytest.raises(ValueError, match="200 x 300"):
        write_slide(tmp_path / "small.svs", width=200, height=300)
