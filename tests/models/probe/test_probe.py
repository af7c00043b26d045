"""Two layers on pooled features: what they compute, which encoder they have, and what they refuse."""

import numpy as np
import pytest
import torch

from histoseg.errors import ConfigError, DataError
from histoseg.maps.objects import find_objects
from histoseg.maps.windows import MarginWindows
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.cerberus.network import CerberusParts
from histoseg.models.cerberus.network import build as build_cerberus
from histoseg.models.network import Network
from histoseg.models.probe import ProbeSpec, probe_of
from histoseg.models.probe.names import PROJECTION
from histoseg.models.spec import FeatureClassifierSpec, Heads, NetworkSpec
from histoseg.models.weights import Model, load_model, save_model
from histoseg.representation.patches import cut_patches
from histoseg.representation.pool import pooled
from histoseg.runs import catalog
from histoseg.store.objects import FileStore
from tests.pipeline.small_runs import folds_run
from tests.small_store import make_task

SPEC = ProbeSpec(encoder="resnet18", width=4, hidden=5, patch_px=16)
NUCLEI = {"cells": make_task("cells", ("background", "round", "long", "flat"), "instance", "nuclei")}
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
WINDOWS = MarginWindows(window_px=32, margin_px=0)


@pytest.fixture
def network():
    return SPEC.build(NUCLEI, 3, 48).eval()


@pytest.fixture
def objects():
    found = np.zeros((40, 50), np.int32)
    found[2:8, 3:9], found[20:30, 30:40], found[36:40, 45:50] = 9, 4, 2
    return found


def test_a_probe_does_what_a_network_must(network):
    assert isinstance(SPEC, NetworkSpec)
    assert isinstance(SPEC, FeatureClassifierSpec)
    assert isinstance(SPEC, catalog.load("histoseg.models", "probe").SPEC)
    assert isinstance(network, Network)
    assert SPEC.heads(network) == Heads(num_classes={"nuclei_type": 3})
    again = SPEC.rebuild(SPEC.heads(network)).state_dict()
    assert {k: v.shape for k, v in again.items()} == {k: v.shape for k, v in network.state_dict().items()}


def test_a_head_is_two_layers_with_a_relu_between_them(network):
    """By NumPy, from the numbers of the head: normalise, multiply, cut off at zero, multiply."""
    head, x = network.heads["nuclei_type"], np.random.default_rng(1).normal(size=(4, 60)).astype(np.float32)
    with torch.no_grad():
        head[0].running_mean.fill_(0.5), head[0].running_var.fill_(4.0)
        found = network.head("nuclei_type", torch.from_numpy(x)).numpy()
    (w1, b1), (w2, b2) = ((head[i].weight[:, :, 0, 0].detach().numpy(), head[i].bias.detach().numpy()) for i in (1, 3))
    hidden = np.maximum(0, ((x - 0.5) / np.sqrt(4 + 1e-5)) @ w1.T + b1)
    assert found == pytest.approx(hidden @ w2.T + b2, abs=1e-5)


def test_a_projection_is_the_layers_alone():
    """Chen et al. 2020, Sec. 2.1: g(h) = W2 relu(W1 h)."""
    network = SPEC.with_outputs({PROJECTION: 7}, 0)
    kinds = [type(layer).__name__ for layer in network.heads[PROJECTION]]
    assert kinds == ["Conv2d", "ReLU", "Conv2d"]
    assert network.head(PROJECTION, torch.zeros(2, 60)).shape == (2, 7)


def features_of(network, objects):
    """Those of the patches about an image's objects."""
    return pooled(network, cut_patches(IMAGE, find_objects(objects).centroids, 16))


def test_objects_are_classified_by_the_patches_about_their_middles(network, objects):
    features = features_of(network, objects)
    found = SPEC.classify_features(network, features, "nuclei")
    with torch.no_grad():
        wanted = network.head("nuclei_type", torch.from_numpy(features)).softmax(dim=1).numpy()
    assert found.probabilities == pytest.approx(wanted, abs=1e-6)
    assert found.probabilities.sum(axis=1) == pytest.approx(1)
    assert found.classes.tolist() == (wanted.argmax(axis=1) + 1).tolist()


def test_without_objects_there_are_no_classes(network):
    found = SPEC.classify_features(network, features_of(network, np.zeros((40, 50), np.int32)), "nuclei")
    assert found.probabilities.shape == (0, 3)


def test_another_structure_is_refused_with_the_heads_there_are(network, objects):
    with pytest.raises(ConfigError, match=r"classes of gland.*nuclei_type"):
        SPEC.classify_features(network, features_of(network, objects), "gland")


def test_the_first_weights_of_an_encoder_are_those_of_a_cerberus_of_that_seed(network):
    cerberus = build_cerberus(CerberusParts(encoder="resnet18", width=4, decoders={"nuclei": 2}), 3)
    own = network.encoder.state_dict()
    assert all(torch.equal(own[name], value) for name, value in cerberus.encoder.state_dict().items())


def test_an_encoder_is_taken_over_from_any_network_that_has_the_same(network):
    cerberus = build_cerberus(CerberusParts(encoder="resnet18", width=4, decoders={"nuclei": 2}), 9)
    after = SPEC.extend(cerberus, NUCLEI, 1)
    own = after.encoder.state_dict()
    assert all(torch.equal(own[name], value) for name, value in cerberus.encoder.state_dict().items())


@pytest.mark.parametrize("parts", [{"encoder": "resnet34", "width": 4}, {"encoder": "resnet18", "width": 8}])
def test_another_encoder_is_refused(parts):
    with pytest.raises(ConfigError, match="another encoder than resnet18 of width 4"):
        SPEC.extend(build_cerberus(CerberusParts(**parts), 0), NUCLEI, 1)


def test_a_frozen_encoder_stays_out_of_training(network):
    network.freeze_encoder()
    network.train()
    assert not any(module.training for module in network.encoder.modules())
    assert network.heads.training
    trained = {name for name, value in network.named_parameters() if value.requires_grad}
    assert trained == {name for name, _ in network.named_parameters() if name.startswith("heads.")}


def test_a_saved_probe_is_whole(network, objects, tmp_path):
    model = Model(spec=SPEC, network=network, classes={"nuclei_type": NUCLEI["cells"].classes}, mpp=0.5, origin="test")
    save_model(model, FileStore(tmp_path), "")
    again = load_model(tmp_path)
    assert again.spec == SPEC
    features = [features_of(one, objects) for one in (network, again.network)]
    found = [
        SPEC.classify_features(one, own, "nuclei").probabilities
        for one, own in zip((network, again.network), features, strict=True)
    ]
    assert np.array_equal(*found)


def test_a_probe_finds_nothing(network):
    for ask in (SPEC.predict, SPEC.regions):
        with pytest.raises(ConfigError, match="histoseg features"):
            ask(network, IMAGE, WINDOWS)


def test_tasks_of_other_classes_are_refused():
    other = {"other": make_task("other", ("background", "a"), "instance", "nuclei")}
    with pytest.raises(DataError, match="cells, other do not have the same classes"):
        SPEC.build({**NUCLEI, **other}, 0, 48)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("encoder", "vgg", "resnet18, resnet34, resnet50 or timm/NAME"),
        ("width", 6, "multiple of 4"),
        ("depths", 5, "within 1 and 4"),
        ("hidden", 0, "1 or more"),
        ("patch_px", 8, "16 or more"),
        ("weights", "nonsense", "16 digits"),
        ("weights", "pretrained", "imagenet"),
    ],
)
def test_nonsense_is_refused(field, value, message):
    with pytest.raises(ConfigError, match=rf"network.{field}.*{message}"):
        ProbeSpec(**{field: value})


def test_imagenet_is_of_networks_of_its_width():
    with pytest.raises(ConfigError, match="width 64"):
        ProbeSpec(width=8, weights="imagenet")


def test_a_stage_of_another_network_is_refused():
    assert isinstance(folds_run().network, CerberusSpec)
    with pytest.raises(ConfigError, match="'cerberus' is no encoder"):
        probe_of(folds_run())
