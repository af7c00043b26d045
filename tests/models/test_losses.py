import math

import pytest
import torch

from histoseg.models.losses import cross_entropy_per_image, subtyping_loss, weighted_cross_entropy_per_image
from histoseg.types import IGNORE


def test_by_hand():
    # Two pixels with logits (0, 0): ln 2 each. One pixel with logits (ln 3, 0) and truth 0: -ln(3/4).
    logits = torch.zeros(2, 2, 1, 2)
    logits[1, 0, 0, 0] = math.log(3)
    truth = torch.tensor([[[0, 1]], [[0, IGNORE]]])
    found = cross_entropy_per_image(logits, truth)
    assert found.tolist() == pytest.approx([math.log(2), math.log(4 / 3)], rel=1e-6)


def test_an_image_without_labels_counts_nothing_and_has_no_gradient():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = cross_entropy_per_image(logits, torch.full((1, 4, 4), IGNORE)).sum()
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_wrong_dtype_is_refused():
    with pytest.raises(Exception, match="semantic_maps"):
        cross_entropy_per_image(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4))


def test_weighted_cross_entropy_by_hand():
    """Two pixels with even odds (ln 2 each), weights 1 and 3: a mean of 2 ln 2.

    In another image the odds are 3 to 1: ln(4/3) for class 0 of weight 1, and ln 4 for class 1 of weight 2.
    """
    logits = torch.zeros(2, 2, 1, 2)
    logits[1, 0] = math.log(3)
    classes, weights = torch.tensor([[[0, 0]], [[0, 1]]]), torch.tensor([[[1.0, 3.0]], [[1.0, 2.0]]])
    expected = [2 * math.log(2), (math.log(4 / 3) + 2 * math.log(4)) / 2]
    assert weighted_cross_entropy_per_image(logits, classes, weights).tolist() == pytest.approx(expected)


def test_subtyping_loss_by_hand():
    """Three foreground pixels, of classes 1, 1 and 2; probabilities of classes 0 to 2 are 1/4, 1/4, 1/2 everywhere.

    Cross-entropy, a mean over each class's pixels: ln 4 + ln 2. Dice of class 1: 2 * (2/4) over 2 + 3/4; of class 2:
    2 * (1/2) over 1 + 3/2. A background pixel and one to ignore count nowhere.
    """
    odds = torch.log(torch.tensor([0.25, 0.25, 0.5]))
    logits = odds.view(1, 3, 1, 1).expand(1, 3, 1, 5).clone()
    logits[..., 3:] = 9.0 * torch.randn(1, 3, 1, 2)
    types = torch.tensor([[[1, 1, 2, 0, IGNORE]]])
    e = 1e-3
    dice = (1 - (1 + e) / (2.75 + e)) + (1 - (1 + e) / (2.5 + e))
    assert subtyping_loss(logits, types).item() == pytest.approx(math.log(4) + math.log(2) + dice, rel=1e-6)


def test_subtyping_loss_with_class_weights_by_hand():
    """As above; cross-entropy times the weight of its class, 12 or 1, and the mean over all five pixels.

    The same as the published code's parts: cross-entropy of torch by a map of weights, 0 for background.
    """
    odds = torch.log(torch.tensor([0.25, 0.25, 0.5]))
    logits = odds.view(1, 3, 1, 1).expand(1, 3, 1, 5)
    types = torch.tensor([[[1, 1, 2, 0, 0]]])
    e = 1e-3
    dice = (1 - (1 + e) / (2.75 + e)) + (1 - (1 + e) / (2.5 + e))
    found = subtyping_loss(logits, types, (12.0, 1.0)).item()
    assert found == pytest.approx((2 * 12 * math.log(4) + math.log(2)) / 5 + dice, rel=1e-6)
    each = torch.nn.functional.cross_entropy(logits, types, reduction="none")
    weights = torch.tensor([0.0, 12.0, 1.0])[types]
    assert found == pytest.approx((each * weights).mean(dim=(1, 2)).mean().item() + dice, rel=1e-6)


@pytest.mark.parametrize("weights", [(), (12.0, 1.0)])
def test_subtyping_loss_over_all_pixels_by_hand(weights):
    """Classes 1, 1, 2 and 0 with even probabilities 1/4, 1/4, 1/2 of classes 0 to 2; a fifth pixel is to be ignored.

    Background is one more class: cross-entropy ln 4 (of class 0) + ln 4 + ln 2; Dice of class 0: 2 * 1/4 over 1 + 4/4,
    of class 1: 2 * 2/4 over 2 + 4/4, of class 2: 2 * 1/2 over 1 + 4/2. With weights, background weighs 1.
    """
    odds = torch.log(torch.tensor([0.25, 0.25, 0.5]))
    logits = odds.view(1, 3, 1, 1).expand(1, 3, 1, 5).clone()
    logits[..., 4:] = 9.0 * torch.randn(1, 3, 1, 1)
    types = torch.tensor([[[1, 1, 2, 0, IGNORE]]])
    e = 1e-3
    dice = (1 - (0.5 + e) / (2 + e)) + (1 - (1 + e) / (3 + e)) + (1 - (1 + e) / (3 + e))
    plain = 2 * math.log(4) + math.log(2)
    cross_entropy = (math.log(4) + 2 * 12 * math.log(4) + math.log(2)) / 5 if weights else plain
    options = {"class_weights": weights, "masked": False}
    assert subtyping_loss(logits, types, **options, dice=False).item() == pytest.approx(cross_entropy, rel=1e-6)
    assert subtyping_loss(logits, types, **options).item() == pytest.approx(cross_entropy + dice, rel=1e-6)


def test_a_false_object_costs_only_where_all_pixels_count():
    """Background that is called class 1, beside a nucleus that is right."""
    types = torch.tensor([[[1, 0]]])
    logits = 50.0 * torch.nn.functional.one_hot(torch.tensor([[[1, 1]]]), 2).permute(0, 3, 1, 2).float()
    assert subtyping_loss(logits, types).item() == pytest.approx(0, abs=1e-5)
    assert subtyping_loss(logits, types, masked=False, dice=False).item() == pytest.approx(50)


def test_subtyping_of_perfect_logits_costs_nothing():
    types = torch.tensor([[[1, 2, 0]]])
    logits = 50.0 * torch.nn.functional.one_hot(types, 3).permute(0, 3, 1, 2).float()
    assert subtyping_loss(logits, types).item() == pytest.approx(0, abs=1e-5)


def test_subtyping_without_a_nucleus_has_no_gradient_that_matters():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = subtyping_loss(logits, torch.zeros(1, 2, 2, dtype=torch.int64))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)  # Dice of nothing in nothing is 1.
    assert torch.equal(logits.grad, torch.zeros_like(logits))
