"""Tissue is found on slides of every kind, ink and dirt are not, and an empty slide stays empty."""

import cv2
import numpy as np
import pytest
from PIL import Image

from histoseg.demo import drawing
from histoseg.errors import DataError
from histoseg.slides.reader import open_slide
from histoseg.slides.tissue import TissueMask, all_of, draw_mask, find_tissue, read_mask, tissue_of
from tests.slides.drawn import GLASS, draw_on_glass, piece_of_tissue, save_slide

MPP = 8.0
INKS = {"black": (35, 32, 38), "blue": (45, 70, 160), "green": (40, 120, 60), "cyan": (60, 150, 170)}


def overlap(found, true):
    """Intersection over union."""
    return (found & true).sum() / (found | true).sum()


@pytest.mark.parametrize("strength", [0.2, 0.4, 1.0, 2.5], ids=["pale", "light", "usual", "dark"])
@pytest.mark.parametrize("glass", [GLASS, (250, 250, 250), (205, 200, 208)], ids=["usual", "bright", "dim and tinted"])
def test_tissue_of_any_strength_is_found(strength, glass):
    picture, true = draw_on_glass(strength=strength, glass=glass)
    assert overlap(tissue_of(picture, MPP), true) > 0.93


@pytest.mark.parametrize("ink", INKS.values(), ids=INKS)
def test_ink_is_not_tissue(ink):
    picture, true = draw_on_glass()
    drawn = np.zeros(true.shape, np.uint8)
    cv2.circle(drawn, (200, 150), 130, 1, 9)  # Around the tissue, as pathologists mark what is to be looked at
    cv2.putText(drawn, "A 12", (300, 270), cv2.FONT_HERSHEY_SIMPLEX, 1.5, 1, 6)
    stroke = drawn.astype(bool) & ~true
    picture[stroke] = ink
    picture = cv2.GaussianBlur(picture, (0, 0), 0.8)
    found = tissue_of(picture, MPP)
    assert found[stroke].mean() < 0.01
    assert overlap(found, true) > 0.9


def test_an_empty_slide_has_none():
    """Neither camera noise, nor shading towards the corners, nor dust, a hair, or the edge of the cover slip."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:300, :400]
    shade = 1 - 0.08 * np.hypot(y / 300 - 0.5, x / 400 - 0.5)
    picture = np.array(GLASS) * shade[:, :, None] + rng.normal(0, 1.5, (300, 400, 3))
    cv2.line(picture, (30, 0), (34, 299), (214, 212, 216), 2)
    cv2.ellipse(picture, (200, 150), (60, 20), 30, 0, 200, (150, 148, 150), 1)
    for _ in range(40):
        cv2.circle(picture, rng.integers(0, 300, 2).tolist(), 1, (120, 110, 118), -1)
    assert not tissue_of(picture.clip(0, 255).astype(np.uint8), MPP).any()


def test_an_empty_slide_in_jpeg_has_none(tmp_path):
    rng = np.random.default_rng(0)
    noise = (np.array((240, 236, 238)) + rng.normal(0, 3, (2000, 2600, 3))).clip(0, 255).astype(np.uint8)
    save_slide(tmp_path / "empty.tif", noise, mpp=0.5, compression="jpeg", compressionargs={"level": 30})
    with open_slide(tmp_path / "empty.tif") as slide:
        mask = find_tissue(slide)
    assert mask.area_mm2 == 0
    assert not mask.covers(0, 0, 2000, 2600, 0.5)


def test_uniform_glass_of_any_tint_has_none():
    for glass in (GLASS, (255, 255, 255), (225, 230, 220), (240, 232, 236), (0, 0, 0), (128, 128, 128)):
        assert not tissue_of(np.full((200, 200, 3), glass, np.uint8), MPP).any(), glass


def test_a_picture_full_of_tissue_is_tissue():
    picture = piece_of_tissue((300, 400), np.random.default_rng(1))
    assert tissue_of(picture, MPP).mean() > 0.99


def test_holes_are_filled_if_small_and_not_at_the_border():
    picture, _ = draw_on_glass()
    picture[140:160, 190:210] = GLASS  # 0.16 mm square: 0.026 mm² of lumen
    assert tissue_of(picture, MPP)[140:160, 190:210].all()
    picture[100:200, 150:250] = GLASS  # 0.8 mm square
    assert tissue_of(picture, MPP)[110:190, 160:240].mean() < 0.1
    full = piece_of_tissue((300, 400), np.random.default_rng(1))
    full[:20, :20] = GLASS
    assert not tissue_of(full, MPP)[:12, :12].any()


def test_a_slide_gets_a_mask_of_its_tissue(tmp_path):
    picture, true = draw_on_glass()
    save_slide(tmp_path / "one.tif", cv2.resize(picture, None, fx=4, fy=4), mpp=2.0)
    with open_slide(tmp_path / "one.tif") as slide:
        mask = find_tissue(slide)
    assert mask.kind == "automatic"
    size = (mask.mask.shape[1], mask.mask.shape[0])
    assert overlap(mask.mask, cv2.resize(true.astype(np.uint8), size).astype(bool)) > 0.93
    assert mask.area_mm2 == pytest.approx(true.sum() * 0.008**2, rel=0.05)


@pytest.fixture
def slide(tmp_path):
    save_slide(tmp_path / "slide.tif", np.full((300, 401, 3), 230, np.uint8), mpp=1.0)
    with open_slide(tmp_path / "slide.tif") as opened:
        yield opened


@pytest.mark.parametrize("value", [1, 2, 255], ids=["0 and 1", "a class", "0 and 255"])
def test_a_mask_is_read(tmp_path, slide, value):
    values = np.zeros((75, 100), np.uint8)  # A quarter of 300 x 401, rounded
    values[10:20, 30:50] = value
    Image.fromarray(values).save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png", slide)
    assert mask.kind == "given"
    assert np.array_equal(mask.mask, values > 0)
    assert mask.mpp == pytest.approx(4.0, rel=0.01)
    assert mask.area_mm2 == pytest.approx(200 * 16e-6, rel=0.02)


def test_a_mask_of_other_proportions_is_refused(tmp_path, slide):
    Image.fromarray(np.ones((75, 110), np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=r"mask\.png.*110 x 75.*401 x 300"):
        read_mask(tmp_path / "mask.png", slide)


def test_a_mask_of_nothing_is_refused(tmp_path, slide):
    Image.fromarray(np.zeros((75, 100), np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=r"mask\.png: every pixel is 0"):
        read_mask(tmp_path / "mask.png", slide)


def test_a_box_is_covered_where_it_meets_tissue():
    values = np.zeros((10, 20), bool)
    values[4, 7] = True  # At 8 microns: from y = 32 and x = 56 to 40 and 64 microns
    mask = TissueMask(mask=values, mpp=8.0, kind="given")
    assert mask.covers(32, 56, 8, 8, mpp=1.0)
    assert mask.covers(39, 63, 100, 100, mpp=1.0)
    assert not mask.covers(40, 56, 8, 8, mpp=1.0)
    assert not mask.covers(32, 64, 8, 8, mpp=1.0)
    assert not mask.covers(0, 0, 32, 160, mpp=1.0)
    assert mask.covers(66, 114, 1, 1, mpp=0.49)  # y = 32.3 to 32.8 microns, x = 55.9 to 56.4
    assert not mask.covers(200, 300, 10, 10, mpp=8.0)  # Beyond the mask, whose last pixel has no tissue


def test_without_a_mask_everything_counts(slide):
    mask = all_of(slide)
    assert mask.kind == "none"
    assert mask.covers(299, 400, 1, 1, mpp=1.0)
    assert mask.area_mm2 == pytest.approx(300 * 401 / 1e6)


def test_the_outline_is_drawn_around_tissue():
    values = np.zeros((30, 40), bool)
    values[10:20, 10:30] = True
    thumbnail = np.full((60, 80, 3), 200, np.uint8)
    drawn = draw_mask(thumbnail, TissueMask(mask=values, mpp=8.0, kind="automatic"))
    changed = (drawn != 200).any(axis=2)
    assert changed[20, 20:60].all()  # The upper edge
    assert not changed[:14].any()
    assert not changed[28:32, 28:52].any()  # Inside
    assert (thumbnail == 200).all()


def test_wrong_shapes_are_refused():
    with pytest.raises(Exception, match="UInt8"):
        tissue_of(np.zeros((10, 10), np.uint8), MPP)
    with pytest.raises(Exception, match="UInt8"):
        tissue_of(np.zeros((10, 10, 3), np.float32), MPP)


def test_dyes_of_the_demo_are_those_that_are_told_from_ink():
    """Both absorb green the most, which is what `tissue` relies on."""
    for red, green, blue in (drawing.HAEMATOXYLIN, drawing.EOSIN):
        assert green > max(red, blue)
