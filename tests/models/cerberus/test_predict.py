import tracemalloc
import weakref

import cv2
import numpy as np
import pytest
import torch

from histoseg.errors import DataError
from histoseg.maps.windows import MarginWindows
from histoseg.models.cerberus import predict as prediction
from histoseg.models.cerberus.network import CerberusParts, build
from histoseg.models.cerberus.predict import predict, probabilities

# A U-Net's encoder looks 62 pixels far with its convolutions, 2 · (1 + 2 + 4 + 8 + 16), under 16 more with pooling; a
# decoder 30 with convolutions, 2 · (8 + 4 + 2 + 1), and 30 with interpolation. A margin of 144 holds all of it.
MARGIN_PX = 144


@pytest.fixture(scope="module")
def network():
    spec = CerberusParts(encoder="unet", width=8, decoders={"gland": 2, "nuclei": 3}, tissue=4, tissue_cells=2)
    network = build(spec, 0).eval()
    random = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if "running_var" in name:
            value.uniform_(0.5, 1.5, generator=random)
    return network


def draw_image(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def see(network, image, window_px, margin_px):
    return probabilities(network, image, MarginWindows(window_px=window_px, margin_px=margin_px), ["gland", "nuclei"])


@pytest.mark.parametrize("size", [(96, 64), (70, 45), (5, 3)])
def test_windows_see_what_one_large_window_sees(network, size):
    image = draw_image(*size)
    maps, tissue = see(network, image, 32 + 2 * MARGIN_PX, MARGIN_PX)
    whole, all_tissue = see(network, image, 96 + 2 * MARGIN_PX, MARGIN_PX)
    for name in ("gland", "nuclei"):
        assert maps[name].shape == (network.parts.decoders[name], *size)
        assert maps[name].sum(axis=0) == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(maps[name], whole[name], atol=1e-4)
    np.testing.assert_allclose(tissue, all_tissue, atol=1e-4)


def test_a_margin_that_is_too_small_shows(network):
    """Or else the property above would say nothing."""
    image = draw_image(96, 64)
    whole, _ = see(network, image, 96 + 2 * MARGIN_PX, MARGIN_PX)
    maps, _ = see(network, image, 32 + 2 * 16, 16)
    assert np.abs(maps["gland"] - whole["gland"]).max() > 1e-3


def test_a_square_of_tissue_is_classified_by_what_it_shows(network):
    """The squares are those of `classify` on the features of the image with its mirrored surroundings."""
    image = draw_image(64, 96)
    _, tissue = see(network, image, 96 + 2 * MARGIN_PX, MARGIN_PX)
    mirrored = cv2.copyMakeBorder(image, *[MARGIN_PX] * 4, cv2.BORDER_REFLECT_101)
    with torch.no_grad():
        features = network.encode(torch.from_numpy(mirrored)[None])[-1]
        cells = features[:, :, MARGIN_PX // 16 :][:, :, :4, MARGIN_PX // 16 :][:, :, :, :6]
        expected = network.classify([cells]).softmax(dim=1)[0].numpy()
    assert tissue.shape == (4, 2, 3)
    np.testing.assert_allclose(tissue, expected, atol=1e-5)


def test_only_what_is_asked_for_is_found(network):
    found = predict(network, draw_image(40, 40), MarginWindows(window_px=64, margin_px=16), ["nuclei", "lumen"])
    assert set(found.instance_maps) == {"nuclei"}  # The network has no decoder for lumina.
    assert found.instance_maps["nuclei"].shape == (40, 40)
    assert len(found.classes["nuclei"]) == found.instance_maps["nuclei"].max()
    assert found.tissue_px == 32


def one_square(top, left, side):
    """Probabilities of background and inner that are certain of one square."""
    inner = np.zeros((100, 100), np.float32)
    inner[top : top + side, left : left + side] = 1
    return np.stack([1 - inner, inner])


def test_lumina_lie_within_glands_and_classes_are_voted(monkeypatch):
    lumina = np.maximum(one_square(25, 25, 20), one_square(75, 75, 20))
    maps = {
        "gland": one_square(10, 10, 50),
        "lumen": np.stack([1 - lumina[1], lumina[1]]),
        "gland_type": np.concatenate([np.zeros((2, 100, 100), np.float32), one_square(0, 0, 100)[1:]]),
    }
    monkeypatch.setattr(prediction, "probabilities", lambda *given: ({name: maps[name] for name in given[3]}, None))
    network = build(CerberusParts(encoder="unet", width=4, decoders={name: len(maps[name]) for name in maps}), 0)
    found = predict(network, draw_image(100, 100), MarginWindows(), ["gland", "lumen"])
    assert found.instance_maps["gland"].max() == 1
    assert found.instance_maps["lumen"].max() == 1  # The one in the lower right is outside of every gland.
    assert not found.instance_maps["lumen"][70:, 70:].any()
    assert found.classes["gland"].tolist() == [2]
    assert found.class_probabilities["gland"].tolist() == [1.0]
    assert found.classes["lumen"].tolist() == [0]
    assert found.tissue is None


def test_a_network_of_broken_weights_is_an_error_and_not_an_empty_result():
    network = build(CerberusParts(encoder="resnet18", width=4, decoders={"gland": 2}), 0).eval()
    network.conv_map.weight.data[0] = float("nan")
    with pytest.raises(DataError, match="decoder gland produced NaN"):
        probabilities(network, np.zeros((32, 32, 3), np.uint8), MarginWindows(window_px=64, margin_px=16), ["gland"])


def test_maps_are_held_once():
    """NumPy tells tracemalloc what it allocates: the maps, and beside them what little the windows take."""
    decoders = {"gland": 3, "nuclei": 3, "nuclei_type": 16}
    network = build(CerberusParts(encoder="resnet18", width=4, decoders=decoders), 0).eval()
    image = draw_image(200, 180)
    tracemalloc.start()
    try:
        maps, _ = probabilities(network, image, MarginWindows(window_px=96, margin_px=16), decoders)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * sum(part.nbytes for part in maps.values())


def test_a_map_is_freed_before_the_next_structure_is_separated(monkeypatch):
    maps, alive = {}, []

    def found(*given):
        fresh = {name: one_square(10, 10, 50) for name in given[3]}
        maps.update({name: weakref.ref(part) for name, part in fresh.items()})
        return fresh, None

    def separate(part, *_):
        alive.append([name for name, held in maps.items() if held() is not None])
        return (part[1] > 0.5).astype(np.int32)

    monkeypatch.setattr(prediction, "probabilities", found)
    monkeypatch.setattr(prediction, "separate", separate)
    network = build(CerberusParts(encoder="unet", width=4, decoders={"gland": 2, "nuclei": 2}), 0)
    predict(network, draw_image(100, 100), MarginWindows(), ["gland", "nuclei"])
    assert alive == [["gland", "nuclei"], ["nuclei"]]
