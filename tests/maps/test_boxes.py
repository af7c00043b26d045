"""Overlap of boxes, suppression, and parts of images."""

import numpy as np
import pytest

from histoseg.maps.boxes import (
    areas,
    box_iou,
    centred_within,
    cut,
    draw_boxes,
    moved,
    stretched,
    suppress,
    touching,
)
from histoseg.types import Boxes

# A 10×10 box; one shifted by 2 to the right (IoU 80 / 120 = 2/3); one shifted by 5 (IoU with the first 50 / 150 = 1/3,
# with the second 70 / 130 = 7/13); one far off.
CORNERS = np.array([[0, 0, 10, 10], [2, 0, 12, 10], [5, 0, 15, 10], [40, 40, 50, 50]], np.float32)


def boxes(*rows, classes=None):
    return Boxes(
        corners=np.array(rows, np.float32).reshape(-1, 4),
        classes=np.array([1] * len(rows) if classes is None else classes, np.uint8),
    )


def draw(count, seed, side=60, size=20):
    rng = np.random.default_rng(seed)
    corner = rng.random((count, 2)) * side
    return np.hstack([corner, corner + 1 + rng.random((count, 2)) * size]).astype(np.float32)


def test_iou_worked_by_hand():
    expected = [[1, 2 / 3, 1 / 3, 0], [2 / 3, 1, 7 / 13, 0]]
    np.testing.assert_allclose(box_iou(CORNERS[:2], CORNERS), expected, rtol=1e-6)
    assert areas(CORNERS).tolist() == [100] * 4
    nothing = np.array([[3, 3, 3, 9]], np.float32)
    assert box_iou(nothing, nothing).tolist() == [[0]]


@pytest.mark.parametrize(
    ("scores", "max_iou", "kept"),
    [
        # The first suppresses the second, which would have suppressed the third.
        ([0.9, 0.8, 0.7, 0.95], 0.5, [3, 0, 2]),
        # The second is best: both its neighbours go.
        ([0.8, 0.9, 0.7, 0.1], 0.5, [1, 3]),
        # At exactly its IoU a box stays; equal scores keep their order.
        ([0.5, 0.1, 0.5, 0.5], float(np.float32(1 / 3)), [0, 2, 3]),
        ([0.5, 0.1, 0.4, 0.5], 0.3, [0, 3]),
    ],
)
def test_suppression_worked_by_hand(scores, max_iou, kept):
    assert suppress(CORNERS, np.array(scores, np.float32), max_iou).tolist() == kept


def test_no_two_that_stay_overlap_and_each_that_goes_overlaps_a_better_one():
    corners, scores = draw(200, 3), np.random.default_rng(4).random(200).astype(np.float32)
    kept = suppress(corners, scores, 0.4)
    assert scores[kept].tolist() == sorted(scores[kept].tolist(), reverse=True)
    among = box_iou(corners[kept], corners[kept])
    np.fill_diagonal(among, 0)
    assert 1 < len(kept) < 200
    assert among.max() <= 0.4
    for gone in set(range(200)) - set(kept.tolist()):
        overlaps = box_iou(corners[gone][None], corners[kept])[0] > 0.4
        assert (scores[kept][overlaps] >= scores[gone]).any()


def test_each_box_belongs_to_one_part_and_lies_in_all_that_it_touches():
    """A box across the border of two parts, its centre on the border: it belongs to the right one."""
    across, left, outside = [4, 2, 8, 6], [1, 1, 3, 3], [20, 0, 22, 2]
    found = boxes(across, left, outside)
    parts = (0, 0, 8, 6), (0, 6, 8, 6)  # Top, left, height, width
    assert [centred_within(found.corners, part).tolist() for part in parts] == [
        [False, True, False],
        [True, False, False],
    ]
    assert [touching(found, part).corners.tolist() for part in parts] == [[across, left], [across]]


def test_a_box_that_only_meets_the_border_does_not_touch():
    assert len(touching(boxes([0, 0, 6, 4]), (0, 6, 8, 6)).classes) == 0


def test_moved_stretched_and_cut():
    found = boxes([1, 2, 3, 6])
    assert moved(found, 10, -2).corners.tolist() == [[11, 0, 13, 4]]
    assert stretched(found, 0.5, 2).corners.tolist() == [[0.5, 4, 1.5, 12]]
    assert cut(np.array([[-2, 1, 5, 30], [9, 0, 12, 4]], np.float32), (10, 8)).tolist() == [[0, 1, 5, 10], [8, 0, 8, 4]]


def test_pixels_whose_middle_lies_in_a_box_have_its_class():
    """1.4 to 3.5 holds the middles 1.5 and 2.5, not 3.5; the small box is drawn over the large one, given after it."""
    drawn = draw_boxes(boxes([1.4, 0, 3.5, 2], [0, 0, 6, 3], classes=[2, 1]), (4, 6))
    expected = np.array([[1, 2, 2, 1, 1, 1], [1, 2, 2, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(drawn, expected)


def test_wrong_shape_and_type_are_refused():
    with pytest.raises(TypeError):
        box_iou(CORNERS[:, :3], CORNERS)
    with pytest.raises(TypeError):
        suppress(CORNERS.astype(np.float64), np.zeros(4, np.float32), 0.5)
