import numpy as np
import pytest

from histoseg.slides.hilbert import BITS, CELL_PX, hilbert_codes


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
