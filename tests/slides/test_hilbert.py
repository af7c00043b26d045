import numpy as np
import pytest

from histoseg.slides.hilbert import BITS, CELL_PX, divide, hilbert_codes


def test_the_curve_goes_from_each_cell_to_a_neighbour():
    side = 64
    columns, rows = (values.ravel() for values in np.meshgrid(np.arange(side), np.arange(side)))
    codes = hilbert_codes(columns * CELL_PX + 0.5, rows * CELL_PX + 0.5)
    assert sorted(codes.tolist()) == list(range(side**2))
    along = np.argsort(codes)
    steps = np.abs(np.diff(columns[along])) + np.abs(np.diff(rows[along]))
    assert (steps == 1).all()


def test_places_beyond_the_curve_count_to_its_last_cells():
    end = 2**BITS * CELL_PX
    within, beyond = (
        hilbert_codes(np.array([end - 1.0]), np.array([3.0])),
        hilbert_codes(np.array([1e9]), np.array([3.0])),
    )
    assert within == beyond


@pytest.mark.parametrize("wrong", [np.zeros((2, 2)), [1.0]])
def test_other_than_a_row_of_numbers_is_refused(wrong):
    with pytest.raises(Exception, match="hilbert_codes"):
        hilbert_codes(wrong, np.zeros(2))


@pytest.mark.parametrize("size", [(40_000, 2000), (2000, 40_000), (9000, 9000), (1, 1)])
@pytest.mark.parametrize("num_parts", [1, 4, 5, 7])
def test_parts_are_equal_and_their_boxes_do_not_overlap(size, num_parts):
    xy = np.random.default_rng(0).uniform(0, 1, (2, 3500)) * np.array(size)[:, None]
    parts = list(divide(xy, num_parts))
    assert sorted(np.concatenate(parts).tolist()) == list(range(3500))
    assert all(abs(len(part) - 3500 / num_parts) <= 2 for part in parts)
    sides = np.array([np.ptp(xy[:, part], axis=1) for part in parts])
    assert sides.prod(axis=1).sum() <= np.prod(size)
    if max(size) > num_parts * min(size):  # A strip is cut across.
        assert sides.max() <= 1.1 * max(size) / num_parts


def test_no_places_are_no_parts():
    assert list(divide(np.zeros((2, 0)), 1)) == []
