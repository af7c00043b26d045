import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from histoseg.inference.semantic import predict, score, window_starts
from histoseg.models.unet.network import UNet, build
from histoseg.runs.config import Eval, Model
from histoseg.types import Sample


class ByColour(UNet):
    """A network whose answer is known: class 1 where the red channel is above 127."""

    def __init__(self):
        super().__init__(Model(width=4), {"a": 2})

    def forward(self, images, task):
        red = images[..., 0].float() - 127.5
        return torch.stack([-red, red], dim=1)


@given(st.integers(16, 400), st.sampled_from([16, 32, 96]), st.sampled_from([0.0, 0.25, 0.5, 0.9]))
def test_windows_cover_a_side(length, window, overlap):
    length = max(length, window)
    starts = window_starts(length, window, overlap)
    covered = np.zeros(length, bool)
    for start in starts:
        assert 0 <= start <= length - window
        covered[start : start + window] = True
    assert covered.all()
    assert starts == sorted(set(starts))


def test_windows_by_hand():
    # Windows of 96 that move by 72 over 250 pixels: 0, 72, 144, and the last flush with the end at 154.
    assert window_starts(250, 96, 0.25) == [0, 72, 144, 154]
    assert window_starts(96, 96, 0.25) == [0]


@pytest.mark.parametrize("shape", [(64, 64), (100, 130), (20, 200), (7, 9), (1, 1)])
def test_every_pixel_gets_its_own_answer(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = predict(ByColour(), "a", image, Eval(window_px=64))
    np.testing.assert_array_equal(found, image[..., 0] > 127)


def test_one_window_is_the_network_itself():
    model = build(Model(width=4), {"a": 3}, 0)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    with torch.no_grad():
        wanted = model(torch.from_numpy(image[None]), "a").argmax(dim=1)[0].numpy()
    np.testing.assert_array_equal(predict(model, "a", image, Eval(window_px=32)), wanted)


def test_scoring_leaves_the_model_in_the_mode_it_was_in():
    model = build(Model(width=4, norm="batch"), {"a": 2}, 0).train()
    rng = np.random.default_rng(0)
    sample = Sample(
        key="k",
        patient="p",
        image=rng.integers(0, 256, (40, 50, 3), dtype=np.uint8),
        semantic_map=rng.integers(0, 2, (40, 50), dtype=np.uint8),
        mpp=0.5,
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ((_, predicted, counts),) = score(model, "a", [sample], Eval(window_px=32))
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert counts.sum() == 40 * 50
    assert counts.trace() == (predicted == sample.semantic_map).sum()
