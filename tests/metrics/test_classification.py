import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from sklearn.metrics import average_precision_score, f1_score

from histoseg.metrics import classification

NUM_CLASSES = 4


@st.composite
def predictions(draw):
    """Labels and probabilities; these are few, so that many are equal, and not all classes need be there."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    true = rng.integers(0, draw(st.integers(1, NUM_CLASSES)), draw(st.integers(1, 40)))
    return true, rng.integers(0, 5, (len(true), NUM_CLASSES)) / 4


def test_average_precision_by_hand():
    # At 0.9 one of one is true; at 0.5, where two are equal, two of three; at 0.1 three of four. Recall gains 1/3 each.
    is_true, scores = np.array([True, False, True, True]), np.array([0.9, 0.5, 0.5, 0.1])
    assert classification.average_precision(is_true, scores) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


def test_mean_f1_by_hand():
    true = np.array([0, 0, 1, 1, 1])
    probabilities = np.eye(3)[[0, 1, 1, 1, 2]]
    # Class 0: 1 right of 2 true and 1 predicted; class 1: 2 right of 3 and 3; class 2 is predicted but never true.
    assert classification.f1_per_class(true, probabilities) == pytest.approx([2 / 3, 2 / 3, np.nan], nan_ok=True)
    assert classification.mean_f1(true, probabilities) == pytest.approx(2 / 3)


@settings(deadline=None)
@given(drawn=predictions())
def test_scores_equal_scikit_learn(drawn):
    true, probabilities = drawn
    present = np.unique(true)
    aps = [average_precision_score(true == i, probabilities[:, i]) for i in present]
    assert classification.average_precision_per_class(true, probabilities)[present] == pytest.approx(aps)
    assert classification.mean_average_precision(true, probabilities) == pytest.approx(np.mean(aps))
    f1s = f1_score(true, probabilities.argmax(axis=1), labels=present, average=None)
    assert classification.f1_per_class(true, probabilities)[present] == pytest.approx(f1s)
    assert classification.mean_f1(true, probabilities) == pytest.approx(np.mean(f1s))
    absent = np.setdiff1d(np.arange(NUM_CLASSES), present)
    assert np.isnan(classification.f1_per_class(true, probabilities)[absent]).all()
    assert np.isnan(classification.average_precision_per_class(true, probabilities)[absent]).all()


def test_a_perfect_prediction_scores_1():
    true = np.array([2, 0, 1, 1, 3])
    assert classification.mean_average_precision(true, np.eye(4)[true]) == pytest.approx(1.0)
    assert classification.mean_f1(true, np.eye(4)[true]) == pytest.approx(1.0)


def test_the_order_of_samples_and_the_scale_of_scores_change_nothing():
    rng = np.random.default_rng(0)
    is_true, scores = rng.random(50) < 0.3, rng.integers(0, 10, 50) / 10
    order = rng.permutation(50)
    expected = classification.average_precision(is_true, scores)
    assert classification.average_precision(is_true[order], scores[order]) == pytest.approx(expected)
    assert classification.average_precision(is_true, np.exp(3 * scores)) == pytest.approx(expected)


def test_nothing_true_is_nan():
    none = np.zeros(0, np.int64), np.zeros((0, 3))
    assert np.isnan(classification.mean_average_precision(*none))
    assert np.isnan(classification.mean_f1(*none))
    assert np.isnan(classification.average_precision(np.zeros(3, bool), np.ones(3)))


def test_labels_that_are_no_class_are_refused():
    for score in (classification.mean_average_precision, classification.mean_f1):
        for label, held in ((-1, "-1 to 0"), (3, "0 to 3")):
            with pytest.raises(ValueError, match=f"labels {held}; classes are 0 to 2"):
                score(np.array([0, label]), np.zeros((2, 3)))


def test_another_shape_or_dtype_is_refused():
    true, probabilities = np.zeros(3, np.int64), np.zeros((3, 2))
    for wrong in ((true[:2], probabilities), (true.astype(np.uint8), probabilities), (true, probabilities[:, 0])):
        for score in (classification.mean_average_precision, classification.mean_f1):
            with pytest.raises(TypeCheckError):
                score(*wrong)
    with pytest.raises(TypeCheckError):
        classification.average_precision(true, np.zeros(3))
