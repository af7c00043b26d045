import numpy as np
import pytest
import torch

from histoseg.maps.windows import MarginWindows, OverlapWindows
from histoseg.models.unet.network import UNet, build
from histoseg.models.unet.predict import predict


class ByColour(UNet):
    """A network whose answer is known: class 1 where the red channel is above 127."""

    def __init__(self):
        super().__init__(4, "group", {"a": 2})

    def forward(self, images, task):
        red = images[..., 0].float() - 127.5
        return torch.stack([-red, red], dim=1)


@pytest.mark.parametrize("windows", [OverlapWindows(window_px=64), MarginWindows(window_px=64, margin_px=8)])
@pytest.mark.parametrize("shape", [(64, 64), (100, 130), (20, 200), (7, 9), (1, 1)])
def test_every_pixel_gets_its_own_answer(shape, windows):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = predict(ByColour(), "a", image, windows)
    np.testing.assert_array_equal(found, image[..., 0] > 127)


def test_one_window_is_the_network_itself():
    model = build(4, "group", {"a": 3}, 0)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    with torch.no_grad():
        wanted = model(torch.from_numpy(image[None]), "a").argmax(dim=1)[0].numpy()
    np.testing.assert_array_equal(predict(model, "a", image, OverlapWindows(window_px=32)), wanted)


def test_overlapping_windows_are_averaged():
    """Two windows of 32 over 48 pixels share 16, where the mean of both probabilities decides."""
    model = build(4, "group", {"a": 3}, 0)
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    with torch.no_grad():
        first, second = (
            model(torch.from_numpy(image[None, :, left : left + 32]), "a").softmax(dim=1)[0] for left in (0, 16)
        )
    mean = torch.cat([first[..., :16], (first[..., 16:] + second[..., :16]) / 2, second[..., 16:]], dim=2)
    found = predict(model, "a", image, OverlapWindows(window_px=32, overlap=0.5))
    np.testing.assert_array_equal(found, mean.argmax(dim=0).numpy())
