"""FROC against a case worked by hand and against every threshold tried one by one; average precision likewise."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from histoseg.metrics.froc import LEVELS, detection_precision, matched_iou, recalls_at_levels, threshold_at


def boxes(*rows, classes=None):
    kinds = [1] * len(rows) if classes is None else classes
    return np.array(rows, np.float32).reshape(-1, 4), np.array(kinds, np.uint8)


A, B = [0, 0, 10, 10], [20, 0, 30, 10]


def test_matching_worked_by_hand():
    """By score: over A by 2/3; a second one over A, which is taken; over B by 1/3; over nothing."""
    found = boxes([2, 0, 12, 10], [0, 0, 10, 10], [25, 0, 35, 10], [50, 50, 60, 60])
    np.testing.assert_allclose(matched_iou(boxes(A, B), found), [2 / 3, 0, 1 / 3, 0], rtol=1e-6)
    np.testing.assert_allclose(matched_iou(boxes(A, B), found, 0.5), [2 / 3, 0, 0, 0], rtol=1e-6)


def test_a_detection_matches_the_box_that_it_overlaps_most_or_none():
    """It overlaps both, by IoU 3/7 and 9/11; the better one is taken, so it is wrong."""
    true, found = boxes([0, 0, 10, 10], [5, 0, 15, 10]), boxes([5, 0, 15, 10], [4, 0, 14, 10])
    np.testing.assert_allclose(matched_iou(true, found), [1, 0])


def test_boxes_of_other_classes_do_not_match():
    assert matched_iou(boxes(A, classes=[1]), boxes(A, A, classes=[2, 1])).tolist() == [0, 1]


@pytest.mark.parametrize(("true", "found"), [(boxes(), boxes(A)), (boxes(A), boxes()), (boxes(), boxes())])
def test_nothing_to_match(true, found):
    assert matched_iou(true, found).tolist() == [0.0] * len(found[1])


def test_froc_worked_by_hand():
    """Two images without objects have 5 wrong boxes: at 1 each, 2 may exceed the threshold, so it is the third, 0.7.

    Above it 0.95 and 0.8 are right, of 5 true boxes. At 2 each, 4 may: the fifth is 0.1, above which 0.6 and 0.3 are
    right as well. At more, all 5 may, so everything counts, also the right one at 0.05.
    """
    scores = np.array([0.95, 0.8, 0.7, 0.65, 0.6, 0.3, 0.05])
    is_right = np.array([True, True, True, False, True, True, True])
    is_right[2] = False
    wrong = np.array([0.9, 0.2, 0.1, 0.75, 0.7])
    assert recalls_at_levels(scores, is_right, 5, wrong, 2).tolist() == [0.4, 0.8, 1.0, 1.0, 1.0, 1.0]
    assert threshold_at(wrong, 2) == 0.7
    assert threshold_at(wrong, 5) == -np.inf


def test_equal_scores_pass_together():
    """With three wrong boxes of one score, none may pass where one is allowed, nor may a right one of that score."""
    recalls = recalls_at_levels(np.array([0.6, 0.5]), np.array([True, True]), 2, np.array([0.5] * 3), 1, (1, 2, 3))
    assert recalls.tolist() == [0.5, 0.5, 1.0]


def test_without_true_boxes_or_detections():
    nothing, none = np.zeros(0), np.zeros(0, bool)
    assert np.isnan(recalls_at_levels(nothing, none, 0, nothing, 3)).all()
    assert recalls_at_levels(nothing, none, 4, nothing, 3).tolist() == [0.0] * len(LEVELS)
    assert np.isnan(detection_precision(nothing, none, 0))
    assert detection_precision(nothing, none, 4) == 0


def area_of(box):
    """The pixels of a box whose corners are whole numbers."""
    left, top, right, bottom = box
    return {(x, y) for x in range(int(left), int(right)) for y in range(int(top), int(bottom))}


@pytest.mark.parametrize("seed", range(8))
def test_matching_against_counted_pixels(seed):
    """Crowded boxes of two classes: a detection takes the box of its class that it overlaps most, if that is free."""
    rng = np.random.default_rng(seed)
    true, found = (
        (np.concatenate([first := rng.integers(0, 20, (n, 2)), first + rng.integers(4, 12, (n, 2))], axis=1), kinds)
        for n, kinds in ((12, rng.integers(1, 3, 12)), (25, rng.integers(1, 3, 25)))
    )
    free, wanted = set(range(12)), []
    for box, kind in zip(*found, strict=True):
        own = area_of(box)
        shares = [
            len(own & area_of(other)) / len(own | area_of(other)) if kind == its_kind else 0.0
            for other, its_kind in zip(*true, strict=True)
        ]
        best = max(range(12), key=shares.__getitem__)
        is_match = shares[best] >= 0.3 and best in free
        wanted.append(shares[best] if is_match else 0.0)
        free -= {best} if is_match else set()
    arguments = [(corners.astype(np.float32), kinds.astype(np.uint8)) for corners, kinds in (true, found)]
    np.testing.assert_allclose(matched_iou(*arguments), wanted, rtol=1e-6)
    assert 2 < np.count_nonzero(wanted) < 12


@pytest.mark.parametrize("seed", range(5))
def test_against_every_threshold_tried(seed):
    """The best recall over all thresholds at which wrong boxes are few enough."""
    rng = np.random.default_rng(seed)
    scores, is_right = rng.random(60).round(2), rng.random(60) < 0.5
    wrong, num_images, num_true = rng.random(90).round(2), 7, int(is_right.sum()) + 9
    recalls = recalls_at_levels(scores, is_right, num_true, wrong, num_images)
    for level, recall in zip(LEVELS, recalls, strict=True):
        best = 0.0
        for threshold in [-1.0, *np.unique(np.concatenate([scores, wrong]))]:
            if sum(score > threshold for score in wrong) / num_images <= level:
                right = sum(one and score > threshold for one, score in zip(is_right, scores, strict=True))
                best = max(best, right / num_true)
        assert recall == pytest.approx(best)
    assert recalls.tolist() == sorted(recalls.tolist())


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_counts_what_is_not_found(seed):
    """scikit-learn's, with each missed box as a true item of score 0 that lies behind all others, and adds nothing."""
    rng = np.random.default_rng(seed)
    scores, is_right = rng.random(50) + 0.1, rng.random(50) < 0.4
    num_true = int(is_right.sum()) + 6
    missed = average_precision_score(np.append(is_right, [True] * 6), np.append(scores, [0.0] * 6))
    behind = 6 / num_true * num_true / 56  # What scikit-learn adds for them, which pass together at the end
    assert detection_precision(scores, is_right, num_true) == pytest.approx(missed - behind)


def test_wrong_shape_and_type_are_refused():
    with pytest.raises(TypeError):
        matched_iou(boxes(A), (boxes(A)[0][:, :3], boxes(A)[1]))
    with pytest.raises(TypeError):
        threshold_at(np.zeros(3, np.float32), 1)
