"""Encoders of timm: which features are taken, how images enter, and how their files become weights."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from histoseg.errors import CheckpointError, ConfigError, StorageError
from histoseg.models.probe import ProbeSpec
from histoseg.models.probe import timm_encoder as encoders
from histoseg.models.probe.timm_encoder import as_timm_encoder, create, spread
from histoseg.models.weights import Model, load_model, read_foreign, save_model, start_from
from histoseg.representation.pool import pooled
from histoseg.store.objects import FileStore

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("count", "depths", "wanted"),
    [(5, 4, [1, 2, 3, 4]), (4, 4, [0, 1, 2, 3]), (12, 4, [2, 5, 8, 11]), (12, 1, [11]), (5, 1, [4])],
)
def test_the_last_of_a_pyramid_or_evenly_spread_ones_are_pooled(count, depths, wanted):
    assert spread(count, depths) == wanted


def test_more_depths_than_there_are_are_refused():
    with pytest.raises(ConfigError, match="has 3"):
        spread(3, 4)


def test_features_are_those_of_timm_for_normalised_images():
    """Asked of timm's own interface for features (`features_only`), with the mean and deviation that it states."""
    spec = ProbeSpec(encoder="timm/test_resnet")
    network = spec.with_outputs({"nuclei_type": 2}, 0).eval()
    create("test_resnet")
    import timm

    alone = timm.create_model("test_resnet", features_only=True, out_indices=(1, 2, 3, 4)).eval()
    alone.load_state_dict(network.encoder.model.state_dict())
    mean, std = ([getattr(network.encoder, part).flatten().tolist()] for part in ("mean", "std"))
    assert (mean, std) == ([pytest.approx([0.5] * 3)], [pytest.approx([0.5] * 3)])
    x = torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255 * 2 - 1
    with torch.no_grad():
        wanted = torch.cat([feature.mean(dim=(2, 3)) for feature in alone(x)], dim=1).numpy()
    assert pooled(network, IMAGES) == pytest.approx(wanted, abs=1e-4)


def test_a_transformer_sees_images_of_its_own_size():
    network = ProbeSpec(encoder="timm/test_vit").with_outputs({"nuclei_type": 2}, 0)
    assert network.encoder.input_px == 160
    assert pooled(network, IMAGES).shape == (2, 4 * 64)


def test_an_unknown_encoder_is_refused_with_similar_ones():
    with pytest.raises(ConfigError, match=r"timm/test_resnot.*test_resnet"):
        ProbeSpec(encoder="timm/test_resnot").with_outputs({"nuclei_type": 2}, 0)


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_file_of_timm_becomes_the_weights_that_training_starts_from(tmp_path, ending):
    from histoseg.models.starting import store_weights

    given = {name: torch.rand_like(value) for name, value in create("test_resnet").state_dict().items() if value.dim()}
    path = tmp_path / f"file.{ending}"
    whole = {**create("test_resnet").state_dict(), **given, "fc.weight": torch.ones(3, 96)}
    save_file(whole, path) if ending == "safetensors" else torch.save({"state_dict": whole}, path)
    store = FileStore(tmp_path / "store")
    name = store_weights(as_timm_encoder(read_foreign(path), "test_resnet", str(path)), store)
    spec = ProbeSpec(encoder="timm/test_resnet", weights=name)
    network = spec.with_outputs({"nuclei_type": 2}, 0)
    start_from(network, spec.starting_weights(store), name)
    own = network.encoder.model.state_dict()
    assert all(torch.equal(own[key], value) for key, value in given.items())
    save_model(Model(spec=spec, network=network.eval(), classes={}, mpp=0.5, origin="a test"), store, "model")
    again = load_model(store.root / "model")
    assert np.array_equal(pooled(again.network, IMAGES), pooled(network, IMAGES))


def test_a_file_of_another_encoder_is_refused():
    tensors = create("test_resnet").state_dict()
    lost = next(iter(tensors))
    del tensors[lost]
    with pytest.raises(CheckpointError, match=rf"file.pth does not fit timm/test_resnet: lacks {lost}"):
        as_timm_encoder(tensors, "test_resnet", "file.pth")


def test_weights_that_are_nowhere_are_asked_for(tmp_path, monkeypatch):
    store = FileStore(tmp_path)
    with pytest.raises(StorageError, match="put-weights"):
        ProbeSpec(encoder="timm/test_resnet", weights="0123456789abcdef").starting_weights(store)

    def fail(*_, **__):
        raise OSError("no network")

    create("test_resnet")
    import timm

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(StorageError, match=r"no network.*put-weights FILE --encoder timm/test_resnet"):
        ProbeSpec(encoder="timm/test_resnet", weights="pretrained").starting_weights(store)


def test_weights_that_timm_knows_are_fetched_once(tmp_path, monkeypatch):
    known, asked = as_timm_encoder(create("test_resnet").state_dict(), "test_resnet", ""), []
    monkeypatch.setattr(encoders, "_download", lambda name: asked.append(name) or known)
    for _ in range(2):
        ProbeSpec(encoder="timm/test_resnet", weights="pretrained").starting_weights(FileStore(tmp_path))
    assert asked == ["test_resnet"]
