"""Where Cerberus is unsure."""

import numpy as np
import pytest
import torch
from scipy.stats import entropy as scipy_entropy

from histoseg.errors import ConfigError, DataError
from histoseg.maps.windows import MarginWindows, OverlapWindows
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.cerberus.difficulty import entropy
from histoseg.models.spec import difficulty_spec_of
from histoseg.models.unet import UNetSpec
from tests.small_store import make_task

WINDOWS = MarginWindows(window_px=64, margin_px=16)
SPEC = CerberusSpec(encoder="resnet18", width=4)


@pytest.fixture
def network():
    task = make_task("cells", ("background", "cell"), "instance", "nuclei")
    return SPEC.build({"cells": task}, 0, 16).eval()


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (70, 50, 3), dtype=np.uint8)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_entropy_is_scipys_as_a_share_of_the_largest(num_classes):
    logits = torch.randn(2, num_classes, 3, 4, generator=torch.Generator().manual_seed(0)) * 4
    expected = scipy_entropy(logits.double().softmax(1).numpy(), base=num_classes, axis=1)
    np.testing.assert_allclose(entropy(logits).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(("logits", "expected"), [([0.0, 0.0], 1.0), ([200.0, -200.0], 0.0)])
def test_the_ends_are_one_and_zero(logits, expected):
    assert entropy(torch.tensor(logits).reshape(1, 2, 1, 1)).item() == pytest.approx(expected, abs=1e-6)


@torch.no_grad()
def test_a_map_is_what_the_network_says_of_the_mirrored_image(network, image):
    """One window of 80 x 64 pixels, the next multiples of 16, with a margin of 32: computed here without windows."""
    found = SPEC.difficulty(network, image, MarginWindows(window_px=144, margin_px=32), "nuclei")
    seen = np.pad(image, ((32, 42), (32, 46), (0, 0)), mode="reflect")
    logits = network.decode(network.encode(torch.from_numpy(seen[None])), "nuclei")
    expected = scipy_entropy(logits.softmax(1).numpy(), base=2, axis=1)[0, 32:102, 32:82]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_every_window_fills_its_place(network):
    """Of constant colour, every pixel far from a border looks the same."""
    plain = np.full((96, 128, 3), 90, np.uint8)
    found = SPEC.difficulty(network, plain, WINDOWS, "nuclei")
    tiles = [found[top : top + 32, left : left + 32] for top in (0, 32, 64) for left in (0, 32, 64, 96)]
    assert all(np.allclose(tile, tiles[0], atol=1e-5) for tile in tiles)
    assert tiles[0].max() > 0


def test_what_cannot_be_asked_is_refused(network, image):
    with pytest.raises(ConfigError, match="no decoder for gland; choose from nuclei"):
        SPEC.difficulty(network, image, WINDOWS, "gland")
    with pytest.raises(ConfigError, match="margin"):
        SPEC.difficulty(network, image, OverlapWindows(window_px=64), "nuclei")
    with pytest.raises(ConfigError, match="'unet' does not say where it is unsure"):
        difficulty_spec_of(UNetSpec())


def test_weights_that_give_no_numbers_are_refused(network, image):
    with torch.no_grad():
        next(network.parameters()).fill_(torch.nan)
    with pytest.raises(DataError, match="head nuclei produced NaN"):
        SPEC.difficulty(network, image, WINDOWS, "nuclei")
