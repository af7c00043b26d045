"""Pooled features: which, in which order, and that they do not depend on what else is seen at once."""

import numpy as np
import pytest
import torch

from histoseg.errors import ConfigError
from histoseg.models.cerberus.network import CerberusParts, build
from histoseg.models.hovernet import HoVerNetSpec
from histoseg.models.mildnet import MildNetSpec
from histoseg.models.nnunet import NNUNetSpec
from histoseg.models.rotanet import RotaNetSpec
from histoseg.representation import pool
from histoseg.representation.pool import average, pooled
from histoseg.runs import catalog


@pytest.fixture(scope="module")
def network():
    return build(CerberusParts(encoder="resnet18", width=4, decoders={"nuclei": 2}), 0).eval()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


def test_features_are_averaged_and_joined_by_hand():
    """Two depths of one image: channels (1, 3) and (0, 2, 4, 6) over 2×1 and 2×2 pixels."""
    deep = torch.tensor([[[[1.0], [3.0]], [[5.0], [7.0]]]])
    deeper = torch.tensor([[[[0.0, 2.0], [4.0, 6.0]]]])
    assert average([torch.ones(1, 9, 4, 4), deep, deeper], 2).tolist() == [[2.0, 6.0, 3.0]]


def test_the_last_depths_are_pooled(network, images):
    """Width 4: layers 1 to 4 have 4, 8, 16 and 32 channels."""
    found = pooled(network, images)
    assert found.shape == (5, 4 + 8 + 16 + 32)
    with torch.no_grad():
        last = network.encode(torch.from_numpy(images))[-1].mean(dim=(2, 3)).numpy()
    assert found[:, -32:] == pytest.approx(last, abs=1e-6)
    assert pooled(network, images, 1) == pytest.approx(last, abs=1e-6)


def test_patches_do_not_depend_on_each_other(network, images, monkeypatch):
    together = pooled(network, images)
    monkeypatch.setattr(pool, "AT_ONCE_PX", 2 * 32 * 32)
    assert pooled(network, images) == pytest.approx(together, abs=1e-5)


def test_a_network_in_training_is_used_as_it_predicts_and_trains_on(network, images):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    wanted = pooled(network, images)
    network.train()
    assert np.array_equal(pooled(network, images), wanted)
    assert network.training
    network.eval()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_without_patches_there_are_no_rows(network):
    assert pooled(network, np.zeros((0, 32, 32, 3), np.uint8)).shape == (0, 60)


def test_a_network_without_an_encoder_is_refused(images):
    with pytest.raises(ConfigError, match=r"Conv2d.*name a model with one, as"):
        pooled(torch.nn.Conv2d(3, 3, 1), images)


@pytest.mark.parametrize(
    "spec", [RotaNetSpec(width=4), MildNetSpec(width=4), NNUNetSpec(width=4), HoVerNetSpec(width=8)]
)
def test_networks_that_encode_to_something_else_are_refused(spec, images):
    """Features of decoders, or cut ones, are no features of an encoder."""
    network = spec.build({"cerberus_gland": catalog.load("histoseg.sources", "cerberus_gland").TASK}, 0, 256)
    with pytest.raises(ConfigError, match=r"no encoder.*name a model with one, as"):
        pooled(network, images)


def test_images_of_other_types_are_refused(network):
    with pytest.raises(TypeError):
        pooled(network, np.zeros((1, 32, 32, 3), np.float32))
