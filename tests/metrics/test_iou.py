import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from jaxtyping import TypeCheckError

from histoseg.metrics import iou
from histoseg.metrics.iou import confusion

NUM_CLASSES = 4
NAN = float("nan")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def uint8(rows):
    return np.array(rows, np.uint8)


def bincount_confusion(true, pred, num_classes):
    """Independent implementation, exact in int64."""
    kept = true != 255
    codes = true[kept].astype(np.int64) * num_classes + pred[kept]
    return np.bincount(codes, minlength=num_classes**2).reshape(num_classes, num_classes)


@st.composite
def pairs_of_maps(draw):
    shape = draw(array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9))
    labels = st.sampled_from([0, 1, 2, 3, 255])
    true = draw(arrays(np.uint8, shape, elements=labels))
    pred = draw(arrays(np.uint8, shape, elements=st.integers(0, NUM_CLASSES - 1)))
    return true, pred


# Two images of three classes, worked by hand.
# Image 0, truth rows:  class 0 3 right, 1 taken for class 1; class 1 2 right. IoU: 3/4, 2/3, class 2 nowhere.
# Image 1, truth rows:  class 0 1 right; class 2 1 right, 1 taken for class 0. IoU: 1/2, class 1 nowhere, 1/2.
# Pooled: class 0 4 shared of 3+1 true-side 5, predicted 5, union 6 -> 4/6; class 1 2/3; class 2 1/2.
HAND = np.array([[[3, 1, 0], [0, 2, 0], [0, 0, 0]], [[1, 0, 0], [0, 0, 0], [1, 0, 1]]], np.int64)


def test_confusion_by_hand():
    true = uint8([[0, 0, 1], [1, 2, 255]])
    pred = uint8([[0, 1, 1], [1, 0, 2]])
    # (0,0) (0,1) (1,1) (1,1) (2,0); the last pixel is ignored.
    assert iou.confusion(true, pred, 3).tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]


@settings(deadline=None)
@given(maps=pairs_of_maps())
def test_confusion_equals_bincount(maps):
    true, pred = maps
    np.testing.assert_array_equal(confusion(true, pred, NUM_CLASSES), bincount_confusion(true, pred, NUM_CLASSES))


def test_confusion_of_views_that_are_not_contiguous(rng):
    true, pred = (rng.integers(0, NUM_CLASSES, (40, 30), dtype=np.uint8) for _ in range(2))
    for view in (np.s_[::2, 1::3], np.s_[:, ::-1], np.s_[5:9, 3:20]):
        expected = bincount_confusion(true[view], pred[view], NUM_CLASSES)
        np.testing.assert_array_equal(iou.confusion(true[view], pred[view], NUM_CLASSES), expected)
    np.testing.assert_array_equal(iou.confusion(true.T, pred.T, 4), bincount_confusion(true, pred, 4))


def test_confusion_is_exact_beyond_what_float32_counts():
    side = 4097  # 4097**2 = 2**24 + 8193 is odd, and float32 has no odd number above 2**24.
    zeros = np.zeros((side, side), np.uint8)
    assert int(np.float32(side**2)) != side**2
    assert iou.confusion(zeros, zeros, 2).tolist() == [[side**2, 0], [0, 0]]


def test_confusion_with_one_class_and_with_the_most():
    zeros = np.zeros((2, 3), np.uint8)
    assert iou.confusion(zeros, zeros, 1).tolist() == [[6]]
    last = np.full((2, 3), 254, np.uint8)
    counts = iou.confusion(last, last, 255)
    assert counts[254, 254] == counts.sum() == 6


def test_confusion_of_an_image_without_pixels_or_without_truth_is_zero():
    assert not iou.confusion(np.zeros((0, 5), np.uint8), np.zeros((0, 5), np.uint8), 2).any()
    assert not iou.confusion(np.full((4, 5), 255, np.uint8), np.zeros((4, 5), np.uint8), 2).any()


@pytest.mark.parametrize(
    ("true", "pred", "num_classes", "message"),
    [
        ([[0, 0]], [[0, 3]], 3, "prediction holds label 3; classes are 0 to 2"),
        ([[0, 255]], [[0, 3]], 3, "prediction holds label 3"),
        ([[0, 0]], [[0, 255]], 3, "prediction holds label 255"),
        ([[0, 3]], [[0, 0]], 3, "truth holds label 3; classes are 0 to 2"),
        ([[254, 9]], [[0, 0]], 3, "truth holds label 254"),
        ([[0, 0]], [[0], [0]], 3, r"truth is \(1, 2\) but prediction \(2, 1\)"),
        ([[0, 0]], [[0, 0]], 0, "num_classes = 0"),
        ([[0, 0]], [[0, 0]], 256, "num_classes = 256"),
    ],
)
def test_confusion_refuses(true, pred, num_classes, message):
    # With the checks of tests on, another shape is refused before the function sees it.
    with pytest.raises((ValueError, TypeCheckError)) as refusal:
        iou.confusion(uint8(true), uint8(pred), num_classes)
    if isinstance(refusal.value, ValueError):
        refusal.match(message)


def test_confusion_refuses_other_shapes_without_the_checks_of_tests():
    with pytest.raises(ValueError, match=r"truth is \(1, 2\) but prediction \(2, 1\)"):
        iou.confusion.__wrapped__(uint8([[0, 0]]), uint8([[0], [0]]), 3)


@pytest.mark.parametrize("wrong", [np.zeros((2, 2), np.int64), np.zeros((2, 2, 1), np.uint8)])
def test_confusion_refuses_another_dtype_or_rank(wrong):
    right = np.zeros((2, 2), np.uint8)
    with pytest.raises(TypeCheckError):
        iou.confusion(wrong, right, 2)


@pytest.mark.parametrize("wrong", [np.zeros((2, 3, 4), np.int64), np.zeros((3, 3), np.int64), np.zeros((2, 3, 3))])
def test_averages_refuse_another_shape_or_dtype(wrong):
    for average in (iou.miou_pooled, iou.miou_reference, iou.miou_present, iou.iou_per_class):
        with pytest.raises(TypeCheckError):
            average(wrong)


def test_averages_by_hand():
    assert iou.iou_per_class(HAND) == pytest.approx([4 / 6, 2 / 3, 1 / 2])
    assert iou.miou_pooled(HAND) == pytest.approx((4 / 6 + 2 / 3 + 1 / 2) / 3)
    # Image 0: (3/4 + 2/3 + 0) / 3; image 1: (1/2 + 0 + 1/2) / 3.
    assert iou.miou_reference(HAND) == pytest.approx(((3 / 4 + 2 / 3) / 3 + 1 / 3) / 2)
    # Image 0: (3/4 + 2/3) / 2; image 1: (1/2 + 1/2) / 2.
    assert iou.miou_present(HAND) == pytest.approx(((3 / 4 + 2 / 3) / 2 + 1 / 2) / 2)


def test_a_perfect_prediction_of_half_the_classes_scores_a_half_by_the_reference_only():
    perfect = iou.confusion(uint8([[0, 0, 1, 1]]), uint8([[0, 0, 1, 1]]), 4)[None]
    assert iou.miou_reference(perfect) == pytest.approx(0.5)
    assert iou.miou_pooled(perfect) == pytest.approx(1.0)
    assert iou.miou_present(perfect) == pytest.approx(1.0)


def test_a_false_class_lowers_the_pooled_mean_though_the_truth_lacks_it():
    # Truth 0 0 0 0, prediction 0 0 0 1: class 0 3/4, class 1 0/1, class 2 undefined.
    wrong = iou.confusion(uint8([[0, 0, 0, 0]]), uint8([[0, 0, 0, 1]]), 3)[None]
    assert iou.miou_pooled(wrong) == pytest.approx((3 / 4 + 0) / 2)
    assert iou.miou_present(wrong) == pytest.approx(3 / 4)
    assert iou.miou_reference(wrong) == pytest.approx((3 / 4) / 3)


@settings(deadline=None)
@given(maps=pairs_of_maps(), order=st.permutations(range(NUM_CLASSES)))
def test_renaming_classes_changes_no_average(maps, order):
    true, pred = maps
    renamed = np.array([*order, *[255] * (256 - NUM_CLASSES)], np.uint8)
    before = iou.confusion(true, pred, NUM_CLASSES)[None]
    after = iou.confusion(renamed[true], renamed[pred], NUM_CLASSES)[None]
    for average in (iou.miou_pooled, iou.miou_reference, iou.miou_present):
        assert average(after) == pytest.approx(average(before), nan_ok=True)


@settings(deadline=None)
@given(maps=pairs_of_maps())
def test_averages_lie_within_0_and_1_and_a_perfect_map_scores_1(maps):
    true, pred = maps
    counts = iou.confusion(true, pred, NUM_CLASSES)[None]
    if not counts.any():
        assert np.isnan([iou.miou_pooled(counts), iou.miou_reference(counts), iou.miou_present(counts)]).all()
        return
    for average in (iou.miou_pooled, iou.miou_reference, iou.miou_present):
        assert 0 <= average(counts) <= 1
    assert iou.miou_reference(counts) <= iou.miou_present(counts) + 1e-12
    perfect = iou.confusion(true, np.where(true == 255, 0, true).astype(np.uint8), NUM_CLASSES)[None]
    assert iou.miou_pooled(perfect) == pytest.approx(1.0)
    assert iou.miou_present(perfect) == pytest.approx(1.0)


def test_the_order_of_images_changes_no_average():
    for average in (iou.miou_pooled, iou.miou_reference, iou.miou_present):
        assert average(HAND[::-1]) == pytest.approx(average(HAND))


def test_an_image_without_truth_changes_no_average():
    more = np.concatenate([HAND, np.zeros((1, 3, 3), np.int64)])
    for average in (iou.miou_pooled, iou.miou_reference, iou.miou_present):
        assert average(more) == pytest.approx(average(HAND))


def test_an_image_with_one_pixel_counts_as_much_as_any_other():
    # Its one pixel is wrong: 0 for the class that it has and 0 for the one predicted. The other image is perfect.
    confusions = np.array([[[5, 0], [0, 4]], [[0, 1], [0, 0]]])
    assert iou.miou_present(confusions) == pytest.approx((1 + 0) / 2)
    assert iou.miou_reference(confusions) == pytest.approx((1 + 0) / 2)


def test_averages_of_nothing_are_nan():
    none = np.zeros((0, 3, 3), np.int64)
    for average in (iou.miou_pooled, iou.miou_reference, iou.miou_present):
        assert np.isnan(average(none))


def test_majority_by_hand():
    # The truth of HAND has 5 pixels of class 0, 2 of class 1 and 2 of class 2; a constant 0 scores (5/9 + 0 + 0) / 3.
    assert iou.majority_miou(HAND, 0) == pytest.approx(5 / 9 / 3)
    assert iou.majority_miou(HAND, 2) == pytest.approx(2 / 9 / 3)
    # In image 1 alone class 1 is nowhere: answering it scores 0 on all three classes.
    assert iou.majority_miou(HAND[1:], 1) == pytest.approx(0.0)
    # There class 0 is 1 of 3 pixels, class 2 is missed, class 1 undefined.
    assert iou.majority_miou(HAND[1:], 0) == pytest.approx((1 / 3 + 0) / 2)


@pytest.mark.parametrize("majority_class", [-1, 3])
def test_majority_refuses_what_is_no_class(majority_class):
    with pytest.raises(ValueError, match="within 0 and 2"):
        iou.majority_miou(HAND, majority_class)


def test_bootstrap_equals_drawing_images_one_by_one(rng):
    confusions = rng.integers(0, 50, (7, 3, 3))
    low, high = iou.bootstrap_interval(confusions, 4000, np.random.default_rng(1))
    draws = [iou.miou_pooled(confusions[rng.integers(0, 7, 7)]) for _ in range(4000)]
    # Two independent Monte Carlo estimates of the same quantiles; their spread is about 0.001.
    assert [low, high] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.005)
    assert low < iou.miou_pooled(confusions) < high


def test_bootstrap_of_two_images_by_hand():
    # Image 0 is drawn twice in a quarter of all draws, image 1 in another, else both: three scores, so quantiles below
    # 1/4 are the lowest, above 3/4 the highest, and between them that of both.
    both, first, second = (iou.miou_pooled(images) for images in (HAND, HAND[:1], HAND[1:]))
    assert second < both < first
    for level, expected in ((0.95, (second, first)), (0.4, (both, both))):
        found = iou.bootstrap_interval(HAND, 1000, np.random.default_rng(0), level)
        assert found == pytest.approx(expected)


def test_bootstrap_of_one_draw_is_the_score_of_that_draw():
    low, high = iou.bootstrap_interval(HAND, 1, np.random.default_rng(0))
    assert low == high
    assert np.isclose(low, [iou.miou_pooled(HAND), iou.miou_pooled(HAND[:1]), iou.miou_pooled(HAND[1:])]).any()


def test_bootstrap_of_equal_images_has_no_width(rng):
    low, high = iou.bootstrap_interval(np.repeat(HAND[:1], 5, axis=0), 50, rng)
    assert low == high == pytest.approx(iou.miou_pooled(HAND[:1]))


def test_bootstrap_widens_with_its_level_and_repeats_with_its_seed():
    confusions = np.random.default_rng(3).integers(0, 50, (9, 3, 3))
    wide = iou.bootstrap_interval(confusions, 500, np.random.default_rng(1), level=0.99)
    narrow = iou.bootstrap_interval(confusions, 500, np.random.default_rng(1), level=0.5)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert narrow == iou.bootstrap_interval(confusions, 500, np.random.default_rng(1), level=0.5)


@pytest.mark.parametrize(("num_images", "num_draws"), [(0, 100), (1, 100), (2, 0)])
def test_bootstrap_without_two_images_or_draws_is_nan(rng, num_images, num_draws):
    assert np.isnan(iou.bootstrap_interval(HAND[:num_images], num_draws, rng)).all()


def test_bootstrap_where_no_pixel_counts_is_nan(rng):
    assert np.isnan(iou.bootstrap_interval(np.zeros((3, 2, 2), np.int64), 10, rng)).all()


@pytest.mark.parametrize(("num_draws", "level"), [(-1, 0.95), (10, 0.0), (10, 1.0), (10, NAN)])
def test_bootstrap_refuses(rng, num_draws, level):
    with pytest.raises(ValueError, match="must be 0 or more, and between 0 and 1"):
        iou.bootstrap_interval(HAND, num_draws, rng, level)
