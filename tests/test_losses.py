import math

import pytest
import torch

from histoseg.losses import cross_entropy_per_image
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
