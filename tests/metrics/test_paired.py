"""Paired differences, against SciPy's test."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_rel

from histoseg.metrics.paired import paired_difference


@pytest.mark.parametrize("count", [2, 3, 9])
def test_the_interval_is_that_of_the_paired_t_test(count):
    rng = np.random.default_rng(count)
    first, second = rng.random(count).tolist(), rng.random(count).tolist()
    found = paired_difference(first, second)
    low, high = ttest_rel(first, second).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.mean == pytest.approx(np.mean(first) - np.mean(second))
    assert found.count == count


def test_one_pair_has_no_interval_and_none_no_mean():
    one, none = paired_difference([0.5], [0.3]), paired_difference([], [])
    assert one.mean == pytest.approx(0.2)
    assert math.isnan(one.low)
    assert math.isnan(none.mean)


def test_numbers_without_a_partner_are_refused():
    with pytest.raises(ValueError, match="zip"):
        paired_difference([0.5], [])
