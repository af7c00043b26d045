import numpy as np
import pytest
from jaxtyping import TypeCheckError

from histoseg.metrics import dice
from histoseg.metrics.iou import confusion, iou_per_class

# Two images, worked by hand. Image 0: 3 pixels right as foreground, 1 missed, 2 false; Dice 2*3 / (4 + 5).
# Image 1: 1 right, 1 missed, none false; Dice 2*1 / (2 + 1). Pooled: 2*4 / (6 + 6).
HAND = np.array([[[10, 2], [1, 3]], [[7, 0], [1, 1]]], np.int64)


def test_dice_by_hand():
    assert dice.dice_pooled(HAND) == pytest.approx(8 / 12)
    assert dice.dice_per_image_mean(HAND) == pytest.approx((6 / 9 + 2 / 3) / 2)
    # The other class: 10 of 11 + 12 and 7 of 7 + 8.
    assert dice.dice_pooled(HAND, 0) == pytest.approx(34 / 38)
    assert dice.dice_per_image_mean(HAND, 0) == pytest.approx((20 / 23 + 14 / 15) / 2)


def test_pooled_dice_follows_from_pooled_iou():
    confusions = np.random.default_rng(0).integers(0, 50, (5, 4, 4))
    for label, iou in enumerate(iou_per_class(confusions)):
        assert dice.dice_pooled(confusions, label) == pytest.approx(2 * iou / (1 + iou))


def test_dice_of_masks_equals_its_definition():
    rng = np.random.default_rng(1)
    true, pred = (rng.random((4, 20, 30)) < 0.4 for _ in range(2))
    confusions = np.stack([confusion(t.view(np.uint8), p.view(np.uint8), 2) for t, p in zip(true, pred, strict=True)])
    assert dice.dice_pooled(confusions) == pytest.approx(2 * (true & pred).sum() / (true.sum() + pred.sum()))
    each = [2 * (t & p).sum() / (t.sum() + p.sum()) for t, p in zip(true, pred, strict=True)]
    assert dice.dice_per_image_mean(confusions) == pytest.approx(np.mean(each))


def test_a_perfect_prediction_scores_1_and_a_wrong_one_0():
    for average in (dice.dice_pooled, dice.dice_per_image_mean):
        assert average(np.array([[[5, 0], [0, 4]]])) == pytest.approx(1.0)
        assert average(np.array([[[0, 5], [4, 0]]])) == pytest.approx(0.0)


def test_a_single_pixel_that_is_missed_scores_0():
    for average in (dice.dice_pooled, dice.dice_per_image_mean):
        assert average(np.array([[[9, 0], [1, 0]]])) == 0  # 2*0 / (1 + 0): the class is there, so this is not nan.


def test_images_without_the_class_are_left_out_and_nothing_is_nan():
    more = np.concatenate([HAND, [[[9, 0], [0, 0]]]])
    assert dice.dice_per_image_mean(more) == pytest.approx(dice.dice_per_image_mean(HAND))
    for average in (dice.dice_pooled, dice.dice_per_image_mean):
        assert np.isnan(average(more[2:]))
        assert np.isnan(average(HAND[:0]))


@pytest.mark.parametrize("label", [-1, 2])
def test_dice_refuses_what_is_no_class(label):
    for average in (dice.dice_pooled, dice.dice_per_image_mean):
        with pytest.raises(ValueError, match="within 0 and 1"):
            average(np.repeat(HAND, 2, axis=0), label)  # Four images, so that their number is not that of classes.


@pytest.mark.parametrize("wrong", [HAND[0], HAND[:, :1], HAND.astype(np.float64)])
def test_dice_refuses_another_shape_or_dtype(wrong):
    for average in (dice.dice_pooled, dice.dice_per_image_mean):
        with pytest.raises(TypeCheckError):
            average(wrong)
