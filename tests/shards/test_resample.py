import numpy as np
import pytest

from histoseg.shards.resample import resample
from histoseg.types import Sample


def draw(side=40, mpp=0.25):
    """Two squares of 10 µm side, 2.5 µm apart, as objects of classes 1 and 2."""
    image = np.full((side, side, 3), 200, np.uint8)
    semantic_map, instance_map = np.zeros((side, side), np.uint8), np.zeros((side, side), np.int32)
    for number, left in ((1, 4), (2, 22)):
        place = np.s_[4:20, left : left + 14]
        image[place], semantic_map[place], instance_map[place] = 50, number, 7 * number
    return Sample(key="k", patient="p", image=image, semantic_map=semantic_map, mpp=mpp, instance_map=instance_map)


def test_image_and_maps_shrink_together():
    sample = resample(draw(), 0.5)
    assert sample.mpp == 0.5
    assert sample.image.shape == (20, 20, 3)
    # Edges at even pixels, so halving is exact: squares of 8 x 7 pixels from row 2 and columns 2 and 11.
    for number, left in ((1, 2), (2, 11)):
        place = np.zeros((20, 20), bool)
        place[2:10, left : left + 7] = True
        np.testing.assert_array_equal(sample.semantic_map == number, place)
        np.testing.assert_array_equal(sample.instance_map == 7 * number, place)
        assert (sample.image[place] == 50).all()


def test_a_map_grows_by_repeating_its_labels():
    sample = resample(draw(mpp=1.0), 0.5)
    np.testing.assert_array_equal(sample.semantic_map, draw().semantic_map.repeat(2, 0).repeat(2, 1))
    assert sample.image.shape == (80, 80, 3)


def test_each_label_is_that_of_the_pixel_in_which_the_new_ones_centre_lies():
    # 13 pixels become 7; the first centre lies at 13/14 = 0.93, in pixel 0, and the others 13/7 = 1.86 apart.
    numbers = np.arange(13 * 26).reshape(13, 26)
    image = np.zeros((13, 26, 3), np.uint8)
    sample = Sample(
        key="k",
        patient="p",
        image=image,
        semantic_map=(numbers % 256).astype(np.uint8),
        mpp=0.7,
        instance_map=numbers.astype(np.int32),
    )
    resampled = resample(sample, 1.3)
    rows, columns = [0, 2, 4, 6, 8, 10, 12], [0, 2, 4, 6, 8, 10, 12, 13, 15, 17, 19, 21, 23, 25]
    expected = 26 * np.array(rows)[:, None] + columns
    np.testing.assert_array_equal(resampled.semantic_map, expected % 256)
    np.testing.assert_array_equal(resampled.instance_map, expected)


def test_an_image_that_shrinks_is_averaged():
    image = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    plain = Sample(key="k", patient="p", image=image, semantic_map=image[..., 0], mpp=0.25)
    means = image.reshape(2, 4, 3, 4, 3).mean(axis=(1, 3))  # Each new pixel has 4 x 4 old ones.
    assert resample(plain, 1.0).image == pytest.approx(means, abs=0.5)  # Rounded to whole numbers.


def test_an_image_that_grows_is_interpolated():
    # A slope of 10 a pixel: the centre of new pixel x lies at (x + 0.5) / 1.5, that of old pixel i at i + 0.5.
    image = np.tile((10 * np.arange(20, dtype=np.uint8))[:, None], (20, 1, 3))
    plain = Sample(key="k", patient="p", image=image, semantic_map=image[..., 0], mpp=0.75)
    grown = resample(plain, 0.5).image
    inside = np.arange(4, 26)  # Four pixels from the border, where nothing is made up.
    assert grown[10, inside, 0] == pytest.approx(10 * ((inside + 0.5) / 1.5 - 0.5), abs=0.51)  # Rounded.


def test_a_pixel_remains_of_the_smallest_image():
    dot = Sample(
        key="k", patient="p", image=np.full((1, 9, 3), 7, np.uint8), semantic_map=np.ones((1, 9), np.uint8), mpp=0.1
    )
    assert resample(dot, 1.0).image.tolist() == [[[7, 7, 7]]]
    assert resample(dot, 1.0).semantic_map.tolist() == [[1]]


@pytest.mark.parametrize(
    ("before", "side"), [(0.495, 40), (0.5, 40), (0.51, 40), (0.513, 41), (0.487, 39), (0.475, 38), (0.62, 50)]
)
def test_near_enough_stays_as_it_is(before, side):
    """Kather5K's 0.495 counts as 0.5, and so does what is 2.5 % off. 0.487 and 0.513 are 2.6 % off, DigestPath's 0.475
    and GlaS' 0.62 more: 40 * 0.475 / 0.5 = 38."""
    sample = resample(draw(mpp=before), 0.5)
    assert sample.image.shape[0] == side
    assert sample.mpp == (before if side == 40 else 0.5)


def test_without_objects_there_are_none_after():
    plain = Sample(key="k", patient="p", image=draw().image, semantic_map=draw().semantic_map, mpp=0.25)
    assert resample(plain, 0.5).instance_map is None
