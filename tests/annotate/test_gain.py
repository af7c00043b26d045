"""What a round gained, and when annotation stops."""

import math

import pytest

from histoseg.annotate.gain import Rule, gains


def test_a_gain_is_the_difference_to_the_round_before():
    first, *others = gains([0.5, 0.6, 0.55])
    assert math.isnan(first)
    assert others == pytest.approx([0.1, -0.05])


@pytest.mark.parametrize(
    ("scores", "is_over"),
    [
        ([], False),
        ([0.5, 0.5], False),  # Two rounds have one gain, and the rule asks for two.
        ([0.5, 0.6, 0.609], False),  # (0.609 - 0.5) / 2 = 0.0545
        ([0.5, 0.6, 0.61, 0.609], True),  # (0.609 - 0.6) / 2 = 0.0045
        ([0.5, 0.6, math.nan, 0.609], True),  # The same ends
        ([0.5, math.nan, 0.61, 0.61], False),
    ],
)
def test_annotation_stops_where_the_mean_gain_of_two_rounds_is_small(scores, is_over):
    assert Rule(last_rounds=2, least_gain=0.005).is_over(scores) == is_over
