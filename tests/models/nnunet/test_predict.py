"""nnU-Net on whole images: targets that come back as objects, mirrored images, settings."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from histoseg.engines import Execution
from histoseg.errors import ConfigError, DataError
from histoseg.maps.evidence import Evidence
from histoseg.maps.windows import MarginWindows
from histoseg.models.nnunet import NNUNetSpec
from histoseg.models.nnunet import predict as predicting
from histoseg.models.nnunet.network import NNUNetParts, build
from histoseg.models.nnunet.predict import NNUNetRegions, predict_classes, probabilities
from histoseg.models.spec import NetworkSpec, RegionPredictor
from histoseg.models.weights import Model, load_model, save_model
from histoseg.runs import catalog
from histoseg.store.objects import FileStore
from tests.models.drawn_glands import draw_glands, quality

WINDOWS = MarginWindows(window_px=128, margin_px=16)
SPEC = NNUNetSpec(width=2, patch_px=64)


def network_of(*structures):
    return build(NNUNetParts(structures=structures, width=2, num_stages=5), 0).eval()


@pytest.fixture(scope="module")
def network():
    return network_of("gland", "lumen")


def draw_image(side=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


def draw_nuclei(side=256, number=40):
    """Discs of 5 to 8 pixels' radius, many of which touch, as later ones are cut by earlier ones."""
    rng, found = np.random.default_rng(0), np.zeros((side, side), np.int32)
    rows, columns = np.indices(found.shape)
    for i in range(number):
        row, column = (32 * (i // 8) + 20 + rng.integers(-1, 2), 14 * (i % 8) + 20 + rng.integers(-1, 2))
        disc = (rows - row) ** 2 + (columns - column) ** 2 <= rng.integers(6, 9) ** 2
        found[disc & (found == 0)] = i + 1
    return found


def test_targets_are_cores_and_the_borders_around_them():
    """By hand, for lumina, whose element is a cross of 3 pixels: two squares that touch keep a border between them."""
    lumen = np.zeros((8, 8), np.int32)
    lumen[1:4, 1:5] = 7
    lumen[4:7, 1:5] = 9
    target = NNUNetSpec(width=2, patch_px=8).target(lumen, "lumen")
    row, empty = [0, 2, 1, 1, 2, 0, 0, 0], [0] * 8
    edge = [0, 2, 2, 2, 2, 0, 0, 0]
    assert target.classes.tolist() == [empty, edge, row, edge, edge, row, edge, empty]
    assert (target.weights == 1).all()


@pytest.mark.parametrize("side", [60, 128])
def test_patches_of_another_side_than_it_is_made_for_are_refused_in_one_line(side):
    with pytest.raises(ConfigError, match=rf"^data.patch_px or data.cut_px = {side}: must be network.patch_px[^\n]*64"):
        SPEC.target(np.zeros((side, side), np.int32), "gland")


class Told:
    """Probabilities of a network that predicts its targets: of what it is told to see in the red."""

    def __call__(self, network, images, names):
        found = torch.nn.functional.one_hot(images[..., 0].long(), 3).permute(0, 3, 1, 2).float()
        return dict.fromkeys(names, found)


@pytest.mark.parametrize("structure", ["gland", "lumen", "nuclei"])
@pytest.mark.parametrize("mirror", [True, False])
def test_objects_come_back_from_their_targets(monkeypatch, structure, mirror):
    """A network that predicts what it learns finds what was drawn, window by window, though objects touch."""
    monkeypatch.setattr(predicting, "probabilities", Told())
    true = draw_nuclei() if structure == "nuclei" else draw_glands(256)[structure]
    spec = NNUNetSpec(width=2, patch_px=256, mirror=mirror)
    image = np.repeat(spec.target(true, structure).classes[:, :, None], 3, axis=2)
    found = spec.predict(network_of(structure), image, WINDOWS)
    assert quality(true, found.instance_maps[structure]) > 0.95


def test_cores_grow_over_the_border_that_touches_them():
    """By hand: two cores share a border and each takes its nearer half; a hole stays, a border alone is dropped."""
    mask, core = np.zeros((9, 20), bool), np.zeros((9, 20), np.float32)
    mask[1:6, 1:13] = True
    mask[3, 3] = mask[0, 0] = False
    core[2:5, 2:5] = core[2:5, 9:12] = 1
    core[3, 3] = 0
    mask[7:9, 15:18] = True
    found = NNUNetRegions(network_of("nuclei"), 0.5, False).separate("nuclei", Evidence(mask=mask, inner=core))
    wanted = np.where(np.arange(20) < 7, 1, 2) * mask
    wanted[7:9, 15:18] = 0
    np.testing.assert_array_equal(found, wanted)
    empty = Evidence(mask=np.zeros((0, 4), bool), inner=np.zeros((0, 4), np.float32))
    assert NNUNetRegions(network_of("nuclei"), 0.5, False).separate("nuclei", empty).shape == (0, 4)


def test_mirrored_images_are_turned_back(network):
    """With mirroring, what is found in a mirrored image is mirrored; without it, it is not."""
    image = torch.from_numpy(draw_image()[None])
    for axes in ((1,), (2,), (1, 2)):
        whole, flipped = (predict_classes(network, seen, ("gland",), True) for seen in (image, image.flip(axes)))
        agreement = (whole["gland"] == flipped["gland"].flip(axes)).float().mean().item()
        assert agreement > 0.999  # Sums in another order may decide a tie otherwise.
    plain, flipped = (predict_classes(network, seen, ("gland",), False) for seen in (image, image.flip((1,))))
    assert (plain["gland"] != flipped["gland"].flip((1,))).any()


def test_images_of_any_size_are_mirrored_up_to_the_stride(network):
    """What is seen beyond an image of 40 by 56 pixels is what its mirror image has there."""
    image = draw_image()[:40, :56]
    whole = np.pad(image, ((0, 8), (0, 8), (0, 0)), mode="reflect")
    found = probabilities(network, torch.from_numpy(image[None]), ("gland",))["gland"]
    wanted = probabilities(network, torch.from_numpy(whole[None]), ("gland",))["gland"][:, :, :40, :56]
    torch.testing.assert_close(found, wanted)


def test_regions_say_what_a_whole_image_does(network):
    image, spec = draw_image(), replace(SPEC, mirror=False)
    regions = spec.regions(network, heads=["gland"])
    assert isinstance(regions, RegionPredictor)
    places = MarginWindows(window_px=64, margin_px=0).over(image, regions.unit_px)
    found = regions.evidence(image, places, (64, 64)).objects["gland"]
    classes = predict_classes(network, torch.from_numpy(image[None]), ("gland",), False)["gland"][0].numpy()
    np.testing.assert_array_equal(found.mask, classes > 0)
    np.testing.assert_array_equal(found.inner, classes == 1)
    assert regions.structures == ("gland",)
    with pytest.raises(ConfigError, match="runs eagerly"):
        spec.regions(network, execution=Execution(precision="bf16"))


def test_broken_weights_are_noticed():
    network = network_of("gland")
    network.heads["gland"][0].bias.data.fill_(float("nan"))
    with pytest.raises(DataError, match="head gland produced NaN"):
        SPEC.predict(network, draw_image(), WINDOWS)


def test_a_saved_model_predicts_the_same(network, tmp_path):
    save_model(Model(spec=SPEC, network=network, classes={}, mpp=0.5, origin="test"), FileStore(tmp_path), "")
    loaded = load_model(tmp_path)
    assert loaded.spec == SPEC
    image = torch.from_numpy(draw_image(32)[None])
    assert torch.equal(loaded.network(image)["lumen"], network(image)["lumen"])


def test_it_is_built_for_what_tasks_teach(tmp_path):
    assert isinstance(SPEC, NetworkSpec)
    tasks = {name: catalog.load("histoseg.sources", name).TASK for name in ("glas", "crag", "lizard")}
    built = SPEC.build({"glas": tasks["glas"], "crag": tasks["crag"]}, 0, 144)
    assert dict(SPEC.heads(built).num_classes) == {"gland": 3}
    assert dict(SPEC.heads(SPEC.extend(built, tasks, 0)).num_classes) == {"gland": 3, "nuclei": 3}
    assert dict(SPEC.heads(SPEC.rebuild(SPEC.heads(built))).num_classes) == {"gland": 3}
    assert SPEC.starting_weights(FileStore(tmp_path)) == {}
    with pytest.raises(DataError, match="kather5k teaches classes of tissue; nnU-Net learns objects"):
        SPEC.build({"kather5k": catalog.load("histoseg.sources", "kather5k").TASK}, 0, 144)


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match=r"network\.width = 0"):
        NNUNetSpec(width=0)
    with pytest.raises(ConfigError, match=r"network\.patch_px = 100"):
        NNUNetSpec(patch_px=100)
