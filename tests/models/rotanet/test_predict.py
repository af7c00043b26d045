"""Rota-Net on whole images: targets that come back as objects, and settings."""

import numpy as np
import pytest
import torch

from histoseg.engines import Execution
from histoseg.errors import ConfigError, DataError
from histoseg.maps.windows import MarginWindows
from histoseg.models.rotanet import RotaNetSpec
from histoseg.models.rotanet.predict import opening_of, uncontoured
from histoseg.models.spec import NetworkSpec, RegionPredictor
from histoseg.models.weights import Model, load_model, save_model
from histoseg.runs import catalog
from histoseg.store.objects import FileStore
from tests.models.drawn_glands import draw_glands, quality

WINDOWS = MarginWindows(window_px=128, margin_px=16)
SPEC = RotaNetSpec(width=1)


@pytest.fixture(scope="module")
def network():
    tasks = {name: catalog.load("histoseg.sources", name).TASK for name in ("cerberus_gland", "cerberus_lumen")}
    network = SPEC.build(tasks, 0, 144)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # The mean over all batches: after one, its own statistics
    network(torch.from_numpy(draw_image()[None]))
    return network.eval()


def draw_image(side=64):
    return np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)


def test_glands_have_contours_and_lumina_are_eroded():
    """By hand, for lumina, whose element is a cross of 3 pixels: a square of 4 pixels loses one on each side."""
    lumen = np.zeros((16, 16), np.int32)
    lumen[2:6, 2:6] = 7
    target = SPEC.target(lumen, "lumen")
    assert np.argwhere(target.classes).tolist() == [[3, 3], [3, 4], [4, 3], [4, 4]]
    assert (target.weights == 1).all()
    glands = draw_glands()["gland"]
    classes = SPEC.target(glands, "gland").classes
    assert set(np.unique(classes)) == {0, 1, 2}
    assert (classes[glands == 0] != 1).all()


@pytest.mark.parametrize("side", [100, 40])
def test_patches_it_cannot_take_are_refused_in_one_line(side):
    with pytest.raises(ConfigError, match=rf"patch_px or data.cut_px = {side}: must be a multiple of 16 for Rota-Net"):
        SPEC.target(np.zeros((side, side), np.int32), "gland")


def test_objects_come_back_from_their_targets(network, monkeypatch):
    """A network that predicts what it learns finds what was drawn, window by window, though glands touch."""
    maps, bits = draw_glands(), {"gland": 0, "lumen": 1}
    image = np.zeros((*maps["gland"].shape, 3), np.uint8)
    for name, channel in bits.items():
        image[:, :, channel] = SPEC.target(maps[name], name).classes

    def tell(seen, structure):
        classes = seen[..., bits[structure]].long()
        count = network.parts.num_classes[structure]
        return 20.0 * torch.nn.functional.one_hot(classes, count).permute(0, 3, 1, 2).float()

    monkeypatch.setattr(type(network), "encode", lambda _, images: images)
    monkeypatch.setattr(type(network), "decode", lambda _, seen, name: tell(seen, name))
    found = SPEC.predict(network, image, WINDOWS)
    assert {name: quality(maps[name], found.instance_maps[name]) > 0.95 for name in maps} == {
        "gland": True,
        "lumen": True,
    }


def test_a_probable_contour_is_not_inside():
    """By hand: of three pixels, background, inner and contour; the second is inner, but its contour is as probable."""
    found = uncontoured(torch.tensor([[[[0.1, 0.0, 0.2]], [[0.6, 0.45, 0.7]], [[0.3, 0.55, 0.1]]]]))
    assert found.flatten().tolist() == pytest.approx([0.6, 0.0, 0.7])
    two = torch.tensor([[[[0.1]], [[0.9]]]])
    assert uncontoured(two).item() == pytest.approx(0.9)


def test_sizes_of_post_processing_follow_the_structure_and_the_resolution():
    """Of glands as in the code of DSF-CNN: 5 pixels, 1500 pixels and the 11 of erosion; half of it at 1 µm/px."""
    gland = opening_of("gland", 0.5)
    assert (gland.element_px, gland.growth.threshold, gland.growth.min_px, gland.growth.element_px) == (
        5,
        0.55,
        1500,
        11,
    )
    assert opening_of("lumen", 0.5).growth.threshold == 0.5
    assert opening_of("lumen", 0.5).element_px == 1
    assert opening_of("gland", 1.0).growth.min_px == 375


def test_regions_say_what_a_whole_image_does(network):
    image = draw_image(64)
    regions = SPEC.regions(network, heads=["lumen"])
    assert isinstance(regions, RegionPredictor)
    assert regions.structures == ("gland", "lumen")
    places = MarginWindows(window_px=64, margin_px=0).over(image, regions.unit_px)
    found = regions.evidence(image, places, (64, 64)).objects["lumen"].mask
    wanted = network(torch.from_numpy(image[None]))["lumen"].argmax(dim=1)[0] == 1
    assert np.mean(found != wanted.numpy()) < 1e-3  # A probability may be next to a threshold.
    with pytest.raises(ConfigError, match="runs eagerly"):
        SPEC.regions(network, execution=Execution(precision="bf16"))


def test_what_is_inside_turns_with_the_image(network):
    image = torch.from_numpy(draw_image(64)[None])
    inside = SPEC.regions(network).inside
    straight, turned = (inside(seen, ["gland", "lumen"]) for seen in (image, torch.rot90(image, 1, (1, 2))))
    for name in ("gland", "lumen"):
        assert straight[name].std() > 1e-3
        torch.testing.assert_close(turned[name], torch.rot90(straight[name], 1, (1, 2)), rtol=0, atol=1e-4)


def test_a_saved_model_predicts_the_same(network, tmp_path):
    save_model(Model(spec=SPEC, network=network, classes={}, mpp=0.5, origin="test"), FileStore(tmp_path), "")
    loaded = load_model(tmp_path)
    assert loaded.spec == SPEC
    image = torch.from_numpy(draw_image(32)[None])
    assert torch.equal(loaded.network(image)["gland"], network(image)["gland"])


def test_it_is_built_for_what_tasks_teach(network, tmp_path):
    assert isinstance(SPEC, NetworkSpec)
    assert dict(SPEC.heads(network).num_classes) == {"gland": 3, "lumen": 2}
    glas = {"glas": catalog.load("histoseg.sources", "glas").TASK}
    alone = SPEC.build(glas, 0, 144)
    assert dict(SPEC.heads(alone).num_classes) == {"gland": 3}
    lumen = {"lumen": catalog.load("histoseg.sources", "cerberus_lumen").TASK}
    assert dict(SPEC.heads(SPEC.extend(alone, lumen, 0)).num_classes) == {"gland": 3, "lumen": 2}
    assert SPEC.starting_weights(FileStore(tmp_path)) == {}
    with pytest.raises(DataError, match="learns objects"):
        SPEC.build({"kather5k": catalog.load("histoseg.sources", "kather5k").TASK}, 0, 144)
    with pytest.raises(ConfigError, match=r"network\.width"):
        RotaNetSpec(width=0)
