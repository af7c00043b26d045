"""Pictures of scored images: small, true to their colours, and of the labels and objects that were there."""

import cv2
import numpy as np
import pytest

from histoseg.scoring._pictures import (
    BACKGROUND_COLOUR,
    IGNORE_COLOUR,
    PANEL_PX,
    Pictures,
    class_colour,
    legend_of,
    outlined,
    paint,
    shrink,
)
from histoseg.store.objects import connect
from histoseg.types import IGNORE

DARK, ORANGE, PINK, GREY, YELLOW = (
    (0x16, 0x19, 0x1D),
    (230, 159, 0),
    (204, 121, 167),
    (0x8A, 0x8F, 0x96),
    (240, 228, 66),
)


@pytest.fixture
def store(tmp_path):
    return connect(f"file://{tmp_path}")


@pytest.fixture
def stored(store):
    """Stores a picture and gives it back as a reader of the file sees it, in RGB."""

    def keep(picture):
        keys = Pictures(store=store, folder="panels", leads=True).put("a", {"image": picture})
        assert keys == {"image": "panels/a-image.png"}
        found = cv2.imdecode(np.frombuffer(store.get(keys["image"]), np.uint8), cv2.IMREAD_UNCHANGED)
        return cv2.cvtColor(found, cv2.COLOR_BGR2RGB)

    return keep


def test_pictures_of_512_pixels_are_kept():
    assert PANEL_PX == 512  # As pages show them: larger pictures would make a page of 32 cells too heavy.


def test_a_shrunk_image_keeps_its_colours(stored):
    image = np.zeros((1024, 700, 3), np.uint8)
    image[:512], image[512:] = (200, 10, 60), (20, 100, 30)
    shrunk = stored(image)
    assert shrunk.shape == (PANEL_PX, 350, 3)
    assert (shrunk[:256] == (200, 10, 60)).all()
    assert (shrunk[256:] == (20, 100, 30)).all()


def test_a_shrunk_image_is_averaged(stored):
    """Columns of 0 and 200 in turn are 100, their mean, at half the size."""
    image = np.zeros((8, 1024, 3), np.uint8)
    image[:, ::2] = 200
    assert (stored(image) == 100).all()


def test_small_pictures_are_kept_pixel_by_pixel(stored):
    for shape in ((PANEL_PX, 9, 3), (9, PANEL_PX, 3), (3, 5, 3)):
        image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
        np.testing.assert_array_equal(stored(image), image)


def test_a_thin_picture_keeps_a_pixel_of_its_width_or_height():
    assert shrink(np.ones((2048, 1), np.uint8), cv2.INTER_NEAREST).shape == (PANEL_PX, 1)
    assert shrink(np.ones((1, 2048), np.uint8), cv2.INTER_NEAREST).shape == (1, PANEL_PX)


def test_only_one_rank_stores_pictures(store):
    image = np.zeros((4, 4, 3), np.uint8)
    keys = Pictures(store=store, folder="panels", leads=False).put("b", {"image": image, "truth": image})
    assert keys == {"image": "panels/b-image.png", "truth": "panels/b-truth.png"}
    assert store.list() == []


def test_classes_have_their_colours_and_repeat_after_the_seventh():
    assert (BACKGROUND_COLOUR, IGNORE_COLOUR) == ("#16191d", "#8a8f96")
    assert class_colour(0) == BACKGROUND_COLOUR
    assert class_colour(IGNORE) == IGNORE_COLOUR
    # The first and the last of Okabe & Ito (2008) but black, as printed there.
    assert (class_colour(1), class_colour(7), class_colour(8)) == ("#E69F00", "#CC79A7", "#E69F00")


def test_a_painted_map_is_dark_grey_and_of_the_colours_of_its_classes():
    painted = paint(np.array([[0, 1, 7], [IGNORE, 8, 0]], np.uint8))
    expected = np.array([[DARK, ORANGE, PINK], [GREY, ORANGE, DARK]], np.uint8)
    np.testing.assert_array_equal(painted, expected)


def test_a_shrunk_map_has_only_colours_of_labels_that_were_there():
    labels = np.random.default_rng(0).choice(np.array([0, 1, 7, IGNORE], np.uint8), (700, 1024))
    painted = paint(labels)
    assert painted.shape == (350, PANEL_PX, 3)
    found = {tuple(colour) for colour in painted.reshape(-1, 3).tolist()}
    assert found == {DARK, ORANGE, PINK, GREY}  # An interpolated map would have other colours between neighbours.


def test_the_legend_names_what_is_not_annotated_where_there_is_some():
    known = np.array([[0, 1]], np.uint8)
    named = {"background": "#16191d", "gland": "#E69F00"}
    assert legend_of(("background", "gland"), known) == named
    unknown = np.array([[0, IGNORE]], np.uint8)
    assert legend_of(("background", "gland"), unknown) == named | {"not annotated": "#8a8f96"}


def outline(side_px, instance_map):
    """Which pixels of a map, put into a larger image at (4, 7), are drawn over; all others stay as they were."""
    image = np.full((20, side_px, 3), 9, np.uint8)
    instances = np.zeros(image.shape[:2], np.int32)
    height, width = instance_map.shape
    instances[4 : 4 + height, 7 : 7 + width] = instance_map
    drawn = outlined(image, instances)
    is_line = (drawn == YELLOW).all(axis=2)
    assert (drawn[~is_line] == 9).all()
    assert (image == 9).all()  # A copy is drawn on.
    assert is_line.sum() == is_line[4 : 4 + height, 7 : 7 + width].sum()
    return is_line[4 : 4 + height, 7 : 7 + width].astype(int).tolist()


def test_an_outline_lies_inside_its_object():
    assert outline(100, np.full((4, 5), 3, np.int32)) == [
        [1, 1, 1, 1, 1],
        [1, 0, 0, 0, 1],
        [1, 0, 0, 0, 1],
        [1, 1, 1, 1, 1],
    ]


def test_objects_that_touch_have_a_line_each():
    halves = np.repeat([[1, 1, 1, 1, 2, 2, 2]], 3, axis=0).astype(np.int32)
    assert outline(100, halves)[1] == [1, 0, 0, 1, 1, 0, 1]


@pytest.mark.parametrize(("side_px", "width_px"), [(511, 1), (512, 2), (1023, 2), (1024, 3)])
def test_a_line_is_a_pixel_wide_when_the_picture_is_shrunk(side_px, width_px):
    """One pixel, and one more for each 512 of the longer side."""
    middle = outline(side_px, np.ones((9, 9), np.int32))[4]
    assert middle == [1] * width_px + [0] * (9 - 2 * width_px) + [1] * width_px


def test_the_last_ids_of_a_large_map_are_told_apart():
    """65,535 objects are the most that a stored map has; as float16 or uint8 these ids would be equal."""
    halves = np.repeat([[65534] * 3 + [65535] * 3], 3, axis=0).astype(np.int32)
    assert outline(100, halves)[1] == [1, 0, 1, 1, 0, 1]


def test_an_object_at_the_edge_of_the_image_has_no_line_there():
    image, instances = np.zeros((5, 6, 3), np.uint8), np.zeros((5, 6), np.int32)
    instances[:, :4] = 1
    is_line = (outlined(image, instances) == YELLOW).all(axis=2)
    assert is_line.tolist() == [[False, False, False, True, False, False]] * 5
