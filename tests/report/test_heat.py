"""Heat maps: what is dark, and what stands where."""

import cv2
import numpy as np
import pytest

from histoseg.report.heat import HeatMap, draw_heat_maps, shades_of

NAN = float("nan")


@pytest.mark.parametrize(
    ("numbers", "shades"),
    [
        ([3.0, 1.0, 2.0], [1.0, 0.0, 0.5]),
        ([5.0, NAN, -5.0], [1.0, NAN, 0.0]),
        ([1.0, 1.0, 0.0], [0.75, 0.75, 0.0]),
        ([NAN, 7.0, NAN], [NAN, 0.5, NAN]),
        ([NAN, NAN], [NAN, NAN]),
    ],
)
def test_shades_are_ranks_within_a_row(numbers, shades):
    np.testing.assert_array_equal(shades_of(np.array(numbers)), shades)


def test_the_best_of_a_row_is_the_darkest():
    """Two columns, the second better; where less is better the first is. Only the order counts, not the height."""
    numbers = {("a", "x"): 0.1, ("a", "y"): 0.2, ("b", "x"): 100.0, ("b", "y"): 101.0}
    for rising in (True, False):
        png = draw_heat_maps(
            [HeatMap(title="m", numbers=numbers, rising=rising)], {"a": "A", "b": "B"}, {"x": "X", "y": "Y"}
        )
        picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR).astype(int)
        blue = picture[..., 0] - picture[..., 2] > 60  # Much bluer than red: the darker half of the colours
        columns = np.flatnonzero(blue.any(axis=0))
        others = np.flatnonzero((picture.min(axis=2) < 255).any(axis=0))
        middle = others.mean()
        assert (columns.mean() > middle) == rising
