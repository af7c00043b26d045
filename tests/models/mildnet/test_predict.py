"""MILD-Net on whole images: targets that come back as objects, random transformations, uncertainty, settings."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from histoseg.engines import Execution
from histoseg.errors import ConfigError, DataError
from histoseg.maps.windows import MarginWindows
from histoseg.models.mildnet import MildNetSpec
from histoseg.models.mildnet import predict as predicting
from histoseg.models.mildnet.network import MildNetParts, build
from histoseg.models.mildnet.predict import probabilities, uncertainty
from histoseg.models.mildnet.sampling import draw, mean_and_variance
from histoseg.models.mildnet.targets import object_and_contour
from histoseg.models.spec import DifficultySpec, NetworkSpec, RegionPredictor
from histoseg.models.weights import Model, load_model, save_model
from histoseg.runs import catalog
from histoseg.store.objects import FileStore
from tests.models.drawn_glands import draw_glands, quality

WINDOWS = MarginWindows(window_px=128, margin_px=16)
SPEC = MildNetSpec(width=4, transformations=3)


@pytest.fixture(scope="module")
def network():
    return build(MildNetParts(structures=("gland", "lumen"), width=4), 0).eval()


def draw_image(side=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


def test_targets_are_objects_and_bands_about_their_borders():
    """By hand, for lumina, whose element is a cross of 3 pixels: a band of two pixels about a square's border."""
    lumen = np.zeros((8, 8), np.int32)
    lumen[2:6, 2:6] = 7
    target = object_and_contour(lumen, "lumen")
    assert target.classes.tolist() == [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 2, 2, 2, 2, 0, 0],
        [0, 2, 3, 3, 3, 3, 2, 0],
        [0, 2, 3, 1, 1, 3, 2, 0],
        [0, 2, 3, 1, 1, 3, 2, 0],
        [0, 2, 3, 3, 3, 3, 2, 0],
        [0, 0, 2, 2, 2, 2, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
    ]
    assert (target.weights == 1).all()


def test_two_objects_that_touch_have_a_contour_between_them():
    glands = draw_glands()["gland"]
    classes = object_and_contour(glands, "gland").classes
    np.testing.assert_array_equal(classes & 1, glands > 0)
    touching = (glands[:-1] != glands[1:]) & (glands[:-1] > 0) & (glands[1:] > 0)
    assert touching.any()
    assert (classes[:-1][touching] == 3).all()


@pytest.mark.parametrize("side", [100, 36])
def test_patches_it_cannot_take_are_refused_in_one_line(side):
    with pytest.raises(ConfigError, match=rf"patch_px or data.cut_px = {side}: must be a multiple of 8 for MILD-Net"):
        SPEC.target(np.zeros((side, side), np.int32), "gland")


def tell(network, images, names):
    """Probabilities of a network that predicts its targets: of what it is told to see in the red, bit by bit."""
    return torch.cat([(images[..., 0] >> bit & 1).float() for _ in names for bit in (0, 1)])


@pytest.mark.parametrize("structure", ["gland", "lumen"])
def test_objects_come_back_from_their_targets(network, monkeypatch, structure):
    """A network that predicts what it learns finds what was drawn, window by window, though objects touch."""
    monkeypatch.setattr(predicting, "probabilities", tell)
    true = draw_glands()[structure]
    image = np.repeat(object_and_contour(true, structure).classes[:, :, None], 3, axis=2)
    found = MildNetSpec(width=4).predict(network, image, WINDOWS, heads=[structure])
    if structure == "lumen":  # Which are dropped outside of glands; of the told ones some are too small.
        found = MildNetSpec(width=4).predict(build(MildNetParts(structures=("lumen",), width=4), 0), image, WINDOWS)
    assert quality(true, found.instance_maps[structure]) > 0.95


def test_regions_say_what_a_whole_image_does(network):
    spec, image = MildNetSpec(width=4), draw_image(96)
    regions = spec.regions(network, heads=["gland"])
    assert isinstance(regions, RegionPredictor)
    places = MarginWindows(window_px=96, margin_px=0).over(image, regions.unit_px)
    found = regions.evidence(image, places, (96, 96)).objects["gland"].mask
    objects, contours = probabilities(network, torch.from_numpy(image[None]), ["gland"])
    wanted = (objects > 0.5) & (contours <= 0.5)
    assert np.mean(found != wanted.detach().numpy()) < 1e-3  # A probability may be next to a threshold.
    with pytest.raises(ConfigError, match="runs eagerly"):
        spec.regions(network, execution=Execution(precision="bf16"))


def test_a_transformation_can_be_undone():
    """Without blur and noise what comes back is the image itself; the shape of a wide image does, too."""
    images = torch.from_numpy(np.stack([draw_image(24, seed)[:16] for seed in range(2)]))
    kinds = set()
    for number in range(40):
        each = draw(number)
        kinds.add((each.turns, each.flipped))
        plain = replace(each, blurred=False, noise_seed=None)
        np.testing.assert_array_equal(plain.undo(plain.see(images)[..., 0].float()), images[..., 0].float())
        assert each == draw(number)
        assert torch.equal(each.see(images), each.see(images))
    assert len(kinds) == 8  # All rotations and reflections are drawn


def test_blur_and_noise_change_an_image_a_little():
    images = torch.from_numpy(draw_image(64)[None])
    plain = replace(draw(0), turns=0, flipped=False, blurred=False, noise_seed=None)
    noisy = replace(plain, noise_seed=3).see(images).float() - images.float()
    inside = (images > 20) & (images < 235)  # Where nothing is cut off
    assert noisy[inside].std().item() == pytest.approx(5, rel=0.05)
    flat = torch.full((1, 16, 16, 3), 90, dtype=torch.uint8)
    assert torch.equal(replace(plain, blurred=True).see(flat), flat)
    assert replace(plain, blurred=True).see(images).float().std() < 0.6 * images.float().std()


def test_transformations_have_the_mean_and_variance_of_equation_5():
    """Four predictions 0.1, 0.2, 0.4, 0.5 of every pixel have the mean 0.3 and the variance 0.025."""
    values = iter([0.1, 0.2, 0.4, 0.5])
    images = torch.zeros(2, 16, 16, 3, dtype=torch.uint8)
    mean, variance = mean_and_variance(lambda x: torch.full(x.shape[:3], next(values)), images, 4)
    assert mean.flatten().tolist() == pytest.approx([0.3] * 512)
    assert variance.flatten().tolist() == pytest.approx([0.025] * 512, rel=1e-5)
    alone, none = mean_and_variance(lambda x: x[..., 0].float(), images, 0)
    assert not alone.any()
    assert not none.any()


def test_uncertainty_is_the_variance_as_a_share_of_the_largest(network, monkeypatch):
    """A network that is sure of opposites in two of four transformations: a variance of 1/4, the largest there is."""
    asked = iter(range(100))

    def flip(network, images, names):
        found = torch.full(images.shape[:3], float(next(asked) % 2))
        return torch.cat([found, 0 * found])

    monkeypatch.setattr(predicting, "probabilities", flip)
    found = uncertainty(network, draw_image(40), MarginWindows(window_px=48, margin_px=0), "gland", 4)
    np.testing.assert_array_equal(found, np.ones((40, 40), np.float32))


def test_uncertainty_is_asked_of_the_settings(network):
    assert isinstance(SPEC, DifficultySpec)
    found = SPEC.difficulty(network, draw_image(48), WINDOWS, "gland")
    assert found.shape == (48, 48)
    assert 0 < found.max() < 1
    np.testing.assert_array_equal(found, SPEC.difficulty(network, draw_image(48), WINDOWS, "gland"))
    with pytest.raises(ConfigError, match=r"network\.transformations = 1"):
        replace(SPEC, transformations=1).difficulty(network, draw_image(), WINDOWS, "gland")
    with pytest.raises(ConfigError, match="no head for nuclei; choose from gland, lumen"):
        SPEC.difficulty(network, draw_image(), WINDOWS, "nuclei")


@pytest.mark.parametrize("transformations", [0, 2])
def test_structures_together_are_found_as_one_by_one_with_one_look_at_the_image(network, monkeypatch, transformations):
    inside = MildNetSpec(width=4, transformations=transformations).regions(network).inside
    images, looks, encode = torch.from_numpy(np.stack([draw_image(), draw_image(seed=1)])), [], network.encode
    alone = {name: inside(images, [name])[name] for name in ("gland", "lumen")}
    monkeypatch.setattr(network, "encode", lambda seen: looks.append(1) or encode(seen))
    together = inside(images, ["gland", "lumen"])
    assert len(looks) == max(1, transformations)
    assert all(torch.equal(together[name], alone[name]) for name in alone)


def test_transformations_change_what_is_found_but_not_from_call_to_call(network):
    image = draw_image(64)
    one, again = (SPEC.regions(network).inside(torch.from_numpy(image[None]), ["gland"])["gland"] for _ in range(2))
    plain = MildNetSpec(width=4).regions(network).inside(torch.from_numpy(image[None]), ["gland"])["gland"]
    assert torch.equal(one, again)
    assert not torch.allclose(one, plain)


def test_a_saved_model_predicts_the_same(network, tmp_path):
    network.get_buffer("steps").fill_(7)
    save_model(Model(spec=SPEC, network=network, classes={}, mpp=0.5, origin="test"), FileStore(tmp_path), "")
    loaded = load_model(tmp_path)
    assert loaded.spec == SPEC
    assert int(loaded.network.get_buffer("steps")) == 7
    image = torch.from_numpy(draw_image(32)[None])
    assert torch.equal(loaded.network(image)["lumen"].objects, network(image)["lumen"].objects)


def test_it_is_built_for_what_tasks_teach(tmp_path):
    assert isinstance(SPEC, NetworkSpec)
    tasks = {name: catalog.load("histoseg.sources", name).TASK for name in ("glas", "crag", "cerberus_lumen")}
    built = SPEC.build({"glas": tasks["glas"], "crag": tasks["crag"]}, 0, 144)
    assert dict(SPEC.heads(built).num_classes) == {"gland": 2}
    assert dict(SPEC.heads(SPEC.extend(built, tasks, 0)).num_classes) == {"gland": 2, "lumen": 2}
    assert dict(SPEC.heads(SPEC.rebuild(SPEC.heads(built))).num_classes) == {"gland": 2}
    assert SPEC.starting_weights(FileStore(tmp_path)) == {}
    with pytest.raises(DataError, match="kather5k teaches classes of tissue; MILD-Net learns objects"):
        SPEC.build({"kather5k": catalog.load("histoseg.sources", "kather5k").TASK}, 0, 144)


@pytest.mark.parametrize("wrong", [{"width": 2}, {"aux_steps": 0}, {"transformations": -1}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ConfigError, match=f"network.{next(iter(wrong))}"):
        MildNetSpec(**wrong)
