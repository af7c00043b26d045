"""Which regions are annotated next."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from histoseg.annotate.rank import ranked, shuffled, take


def test_the_highest_score_comes_first_and_equal_ones_stay_in_order():
    assert ranked([0.2, 0.5, 0.2, 0.9]) == [3, 1, 0, 2]


def test_an_image_gives_no_more_than_its_share_while_others_have_fewer():
    """By hand: of a, a, a, b, c in this order with one of each image at most, first a, b, c, then what was passed."""
    images = ["a", "a", "a", "b", "c"]
    assert take([0, 1, 2, 3, 4], images, 3, per_image=1) == [0, 3, 4]
    assert take([0, 1, 2, 3, 4], images, 4, per_image=1) == [0, 3, 4, 1]
    assert take([0, 1, 2, 3, 4], images, 3) == [0, 1, 2]


def test_images_of_earlier_rounds_wait_until_the_others_have_as_many():
    """By hand: a has two of an earlier round, so b and c come first, then b again, and a when all have two."""
    images = ["a", "a", "b", "b", "c"]
    assert take([0, 1, 2, 3, 4], images, 5, per_image=1, earlier=["a", "a"]) == [2, 4, 3, 0, 1]
    assert take([0, 1, 2, 3, 4], images, 3, per_image=2, earlier=["a", "a"]) == [2, 3, 4]
    assert take([0, 1, 2, 3, 4], images, 3, earlier=["a", "a"]) == [0, 1, 2]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(1, 25), st.integers(0, 4), st.integers(0, 9))
def test_any_number_of_regions_is_taken_once_each(images, count, per_image, seed):
    taken = take(shuffled(len(images), np.random.default_rng(seed)), images, count, per_image)
    assert len(taken) == len(set(taken)) == min(count, len(images))


def test_random_orders_reach_every_region_first():
    firsts = {shuffled(5, np.random.default_rng(seed))[0] for seed in range(60)}
    assert firsts == {0, 1, 2, 3, 4}
