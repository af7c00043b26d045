"""Pictures kept with a record: small, true to their colours, and label maps with no label that was not there."""

import cv2
import numpy as np
import pytest

from histoseg.records.write import PANEL_PX, put_pictures
from histoseg.store.objects import connect


@pytest.fixture
def stored(tmp_path):
    """Keeps pictures and gives them back as whoever opens the files sees them."""
    store = connect(f"file://{tmp_path}")

    def keep(**pictures):
        keys = put_pictures(store, "panels", "a", pictures)
        assert keys == {"key": "a", **{name: f"panels/a-{name}.png" for name in pictures}}
        bodies = {name: np.frombuffer(store.get(keys[name]), np.uint8) for name in pictures}
        return {name: cv2.imdecode(body, cv2.IMREAD_UNCHANGED) for name, body in bodies.items()}

    return keep


def test_a_shrunk_label_map_has_only_labels_that_were_there(stored):
    labels = np.random.default_rng(0).choice(np.array([0, 1, 7, 255], np.uint8), (700, 1024))
    shrunk = stored(truth=labels)["truth"]
    assert shrunk.shape == (350, PANEL_PX)
    assert set(np.unique(shrunk)) == {0, 1, 7, 255}  # Between neighbours lie all other numbers.


def test_a_shrunk_image_keeps_its_colours(stored):
    image = np.zeros((1024, 700, 3), np.uint8)
    image[:512], image[512:] = (200, 10, 60), (20, 100, 30)
    shrunk = stored(image=image)["image"]
    assert shrunk.shape == (PANEL_PX, 350, 3)
    assert (shrunk[:256] == (60, 10, 200)).all()  # OpenCV reads blue first.
    assert (shrunk[256:] == (30, 100, 20)).all()


def test_small_pictures_are_kept_pixel_by_pixel(stored):
    rng = np.random.default_rng(1)
    image, labels = rng.integers(0, 256, (PANEL_PX, 9, 3), np.uint8), rng.integers(0, 5, (9, PANEL_PX), np.uint8)
    kept = stored(image=image, truth=labels)
    np.testing.assert_array_equal(kept["image"][..., ::-1], image)
    np.testing.assert_array_equal(kept["truth"], labels)


def test_a_thin_picture_keeps_a_pixel_of_its_width(stored):
    assert stored(truth=np.ones((2048, 1), np.uint8))["truth"].shape == (PANEL_PX, 1)
