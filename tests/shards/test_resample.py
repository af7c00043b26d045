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


@pytest.mark.parametrize(("before", "side"), [(0.495, 40), (0.5, 40), (0.51, 40), (0.475, 38), (0.62, 50)])
def test_near_enough_stays_as_it_is(before, side):
    """Kather5K's 0.495 counts as 0.5; DigestPath's 0.475 (5 % off) and GlaS' 0.62 do not: 40 * 0.475 / 0.5 = 38."""
    sample = resample(draw(mpp=before), 0.5)
    assert sample.image.shape[0] == side
    assert sample.mpp == (before if side == 40 else 0.5)


def test_without_objects_there_are_none_after():
    plain = Sample(key="k", patient="p", image=draw().image, semantic_map=draw().semantic_map, mpp=0.25)
    assert resample(plain, 0.5).instance_map is None
