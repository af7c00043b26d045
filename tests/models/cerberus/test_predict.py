import copy
import tracemalloc

import cv2
import numpy as np
import pytest
import torch

from histoseg.errors import ConfigError, DataError
from histoseg.maps.evidence import Evidence, RegionEvidence
from histoseg.maps.windows import MarginWindows
from histoseg.models.cerberus.network import CerberusParts, build, with_type_decoder
from histoseg.models.cerberus.predict import classify_objects, predict
from histoseg.models.cerberus.regions import CerberusRegions

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
    regions = CerberusRegions(network, 0.5, ("gland", "nuclei"))
    windows = MarginWindows(window_px=window_px, margin_px=margin_px).over(image, regions.unit_px)
    return regions.evidence(image, windows, image.shape[:2])


@pytest.mark.parametrize("size", [(96, 64), (70, 45), (5, 3)])
def test_windows_see_what_one_large_window_sees(network, size):
    image = draw_image(*size)
    found = see(network, image, 32 + 2 * MARGIN_PX, MARGIN_PX)
    whole = see(network, image, 96 + 2 * MARGIN_PX, MARGIN_PX)
    np.testing.assert_allclose(found.objects["nuclei"].inner, whole.objects["nuclei"].inner, atol=1e-4)
    for name in ("gland", "nuclei"):  # A probability may be next to the threshold.
        assert np.mean(found.objects[name].mask != whole.objects[name].mask) < 1e-3
    np.testing.assert_allclose(found.tissue, whole.tissue, atol=1e-4)


def test_a_margin_that_is_too_small_shows(network):
    """Or else the property above would say nothing."""
    image = draw_image(96, 64)
    inner = [
        see(network, image, side + 2 * margin, margin).objects["nuclei"].inner for side, margin in ((96, 144), (32, 16))
    ]
    assert np.abs(inner[0] - inner[1]).max() > 1e-3


def test_a_square_of_tissue_is_classified_by_what_it_shows(network):
    """The squares are those of `classify` on the features of the image with its mirrored surroundings."""
    image = draw_image(64, 96)
    tissue = see(network, image, 96 + 2 * MARGIN_PX, MARGIN_PX).tissue
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
    mask = np.zeros((100, 100), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_lumina_lie_within_glands_and_classes_are_voted(monkeypatch):
    objects = {
        "gland": Evidence(mask=one_square(10, 10, 50), types=np.full((100, 100), 2, np.uint8)),
        "lumen": Evidence(mask=one_square(25, 25, 20) | one_square(75, 75, 20)),
    }
    monkeypatch.setattr(CerberusRegions, "evidence", lambda *_: RegionEvidence(objects=objects))
    decoders = {"gland": 2, "lumen": 2, "gland_type": 3}
    network = build(CerberusParts(encoder="unet", width=4, decoders=decoders), 0)
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
        see(network, np.zeros((32, 32, 3), np.uint8), 64, 16)


def test_of_sixteen_probabilities_of_a_pixel_nine_bytes_are_kept():
    """Three masks and two maps of classes of a byte each, and the inner probability of nuclei, of four."""
    decoders = {"gland": 3, "lumen": 3, "nuclei": 3, "nuclei_type": 7, "gland_type": 3}
    network = build(CerberusParts(encoder="resnet18", width=4, decoders=decoders), 0).eval()
    regions, image = CerberusRegions(network, 0.5), draw_image(200, 180)
    tracemalloc.start()
    try:
        found = regions.evidence(image, MarginWindows(window_px=96, margin_px=16).over(image), (200, 180))
        peak = tracemalloc.get_traced_memory()[1]  # NumPy reports what it allocates.
    finally:
        tracemalloc.stop()
    assert list(found.objects) == ["gland", "nuclei", "lumen"]
    assert peak < 36 * 200 * 180  # Beside them, what a window takes; as floats they would be 76.


@pytest.fixture(scope="module")
def typed(network):
    wider = with_type_decoder(network, "nuclei", 4, 3)
    torch.nn.init.normal_(wider.decoders["nuclei_type"].head[1].weight, generator=torch.Generator().manual_seed(1))
    return wider.eval()


def draw_objects(height, width):
    """Squares of 6 pixels whose ids have gaps."""
    ids = np.zeros((height, width), np.int32)
    for number, (top, left) in enumerate([(0, 0), (2, 40), (30, 30), (50, 3), (58, 60)]):
        ids[top : top + 6, left : left + 6] = 3 * number + 2
    return ids


def test_given_objects_have_the_mean_probability_of_their_pixels_and_the_class_of_most(typed):
    """Object by object, from the logits of the whole image at once."""
    image, ids = draw_image(64, 80), draw_objects(64, 80)
    found = classify_objects(typed, image, ids, "nuclei", MarginWindows(window_px=96, margin_px=0))
    with torch.no_grad():
        logits = typed.decode(typed.encode(torch.from_numpy(image[None])), "nuclei_type")[0].double()
    p = logits.softmax(dim=0).numpy()
    for row, number in enumerate(np.unique(ids)[1:]):
        inside = p[:, ids == number]
        wanted = (inside[1:] / (1 - inside[0])).mean(axis=1)
        np.testing.assert_allclose(found.probabilities[row], wanted, atol=1e-5)
        votes = np.bincount(inside.argmax(axis=0), minlength=4)
        assert found.classes[row] == (votes[1:].argmax() + 1 if votes[1:].any() else 0)
    assert len(found.classes) == 5
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-6)


def test_objects_have_the_same_classes_however_the_image_is_divided(typed):
    image, ids = draw_image(64, 80), draw_objects(64, 80)
    whole, parts = (
        classify_objects(typed, image, ids, "nuclei", MarginWindows(window_px=size, margin_px=MARGIN_PX))
        for size in (400, 304)
    )
    np.testing.assert_array_equal(whole.classes, parts.classes)
    np.testing.assert_allclose(whole.probabilities, parts.probabilities, atol=1e-4)


def test_an_image_without_objects_has_no_classes(typed):
    none = np.zeros((40, 50), np.int32)
    found = classify_objects(typed, draw_image(40, 50), none, "nuclei", MarginWindows(window_px=96, margin_px=16))
    assert (found.probabilities.shape, found.classes.shape) == ((0, 3), (0,))


def test_objects_whose_classes_a_network_does_not_know_are_refused(network, typed):
    windows, ids = MarginWindows(window_px=96, margin_px=16), draw_objects(64, 80)
    with pytest.raises(ConfigError, match="no decoder 'nuclei_type', only gland, nuclei; train it by subtyping"):
        classify_objects(network, draw_image(64, 80), ids, "nuclei", windows)
    broken = copy.deepcopy(typed)
    torch.nn.init.constant_(broken.decoders["nuclei_type"].head[1].bias, float("nan"))
    with pytest.raises(DataError, match="decoder nuclei_type produced NaN"):
        classify_objects(broken, draw_image(64, 80), ids, "nuclei", windows)
