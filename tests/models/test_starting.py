"""Weights that training starts from."""

import hashlib

import pytest
import torch

from histoseg.errors import CheckpointError, StorageError
from histoseg.models import starting
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.spec import Heads
from histoseg.models.weights import Model, save_model, start_from
from histoseg.store.objects import FileStore
from tests.command import succeed

SMALL = CerberusSpec(encoder="unet", width=8)


@pytest.fixture
def store(tmp_path):
    return FileStore(tmp_path / "store")


def saved(path, tensors):
    torch.save(tensors, path)
    return path


def build(spec, **decoders):
    return spec.rebuild(Heads(num_classes=decoders))


def save_small(store, network, spec=SMALL):
    save_model(Model(spec=spec, network=network, classes={}, mpp=0.5, origin="a test"), store, "small")
    return store.root / "small"


def begin(spec, network, store):
    start_from(network, spec.starting_weights(store), spec.weights)


def resnet_file(encoder, path):
    """A file as torchvision's, classifier included, with made-up numbers."""
    state = build(CerberusSpec(encoder=encoder)).encoder.state_dict()
    return saved(path, {**state, "fc.weight": torch.ones(1000, 512), "fc.bias": torch.ones(1000)})


@pytest.mark.parametrize("encoder", ["resnet18", "resnet34"])
def test_training_begins_with_the_given_encoder(monkeypatch, store, tmp_path, capsys, encoder):
    path = resnet_file(encoder, tmp_path / "resnet.pth")
    given = {name: value + 1 for name, value in torch.load(path, weights_only=True).items()}
    first = hashlib.sha256(saved(path, given).read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(starting, "IMAGENET", {encoder: f"https://example.org/{encoder}-{first}.pth"})
    assert succeed(capsys, "put-weights", path, "--imagenet", "--store", store.url) == f"imagenet-{encoder}\n"
    spec = CerberusSpec(encoder=encoder, weights="imagenet")
    network, untouched = build(spec, nuclei=3), build(spec, nuclei=3)
    begin(spec, network, store)
    for name, value in network.state_dict().items():  # The file has no decoder: that is drawn as ever.
        wanted = given.get(name.removeprefix("encoder."), untouched.state_dict()[name])
        assert torch.equal(value, wanted)


def test_a_file_with_another_checksum_is_refused(store, tmp_path):
    path = resnet_file("resnet18", tmp_path / "resnet18-f37072fd.pth")
    with pytest.raises(CheckpointError, match=r"resnet18-f37072fd\.pth is not one of resnet18-f37072fd\.pth.*SHA-256"):
        starting.import_imagenet(path, store)
    with pytest.raises(CheckpointError, match="no such file"):
        starting.import_imagenet(tmp_path / "nope", store)
    assert store.list() == []


def test_the_hub_out_of_reach_is_one_line(monkeypatch, store):
    def unreachable(*args, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", unreachable)
    with pytest.raises(
        StorageError, match=r"no route to host.*IMAGENET=file, or.*put-weights FILE --imagenet"
    ) as error:
        CerberusSpec(encoder="resnet18", weights="imagenet").starting_weights(store)
    assert "\n" not in str(error.value)


def test_training_begins_with_a_model_of_ours_as_far_as_parts_are_shared(store, caplog):
    given = build(SMALL, gland=2, lumen=2)
    with torch.no_grad():
        for parameter in given.parameters():
            parameter.add_(1)
    name = starting.put_weights(save_small(store, given), store)
    spec = CerberusSpec(encoder="unet", width=8, weights=name)
    network, drawn = build(spec, gland=2, nuclei=3), build(spec, gland=2, nuclei=3)
    with caplog.at_level("INFO"):
        begin(spec, network, store)
    assert "lack decoders.nuclei, which start from random numbers" in caplog.text
    for key, value in network.state_dict().items():
        source = drawn if key.startswith("decoders.nuclei") else given
        assert torch.equal(value, source.state_dict()[key])


def test_a_decoder_of_other_classes_starts_from_random_numbers(store):
    given = build(SMALL, gland=3)
    name = starting.put_weights(save_small(store, given, CerberusSpec(encoder="unet", width=8, contour=True)), store)
    spec = CerberusSpec(encoder="unet", width=8, weights=name)
    network = build(spec, gland=2)
    begin(spec, network, store)
    assert torch.equal(network.decoders["gland"].head[1].bias, build(spec, gland=2).decoders["gland"].head[1].bias)


def test_weights_of_another_encoder_are_refused(store):
    resnet = CerberusSpec(encoder="resnet18", width=8)
    name = starting.put_weights(save_small(store, build(resnet, gland=2), resnet), store)
    spec = CerberusSpec(encoder="unet", width=8, weights=name)
    with pytest.raises(CheckpointError, match=rf"{name}' lack encoder\.blocks"):
        begin(spec, build(spec, gland=2), store)


def test_weights_of_another_width_are_refused(store):
    name = starting.put_weights(save_small(store, build(SMALL, gland=2)), store)
    wide = CerberusSpec(encoder="unet", width=16, weights=name)
    with pytest.raises(CheckpointError, match=r"of another size \(encoder\..* instead of .*\); give the SCALE"):
        begin(wide, build(wide, gland=2), store)


def test_weights_that_are_not_in_the_store_are_refused(store):
    with pytest.raises(
        StorageError, match="has no weights 0123456789abcdef; give them once more, as START=folder or by"
    ):
        CerberusSpec(weights="0123456789abcdef").starting_weights(store)


def test_the_name_of_weights_stands_for_their_bytes(store, tmp_path):
    path = resnet_file("resnet18", tmp_path / "resnet.pth")
    name = starting.put_weights(path, store)
    assert hashlib.sha256(store.get(starting.weights_key(name))).hexdigest().startswith(name)
    assert starting.put_weights(path, store) == name
    with pytest.raises(CheckpointError, match=r"expected a ResNet in torchvision's format"):
        starting.put_weights(saved(tmp_path / "other", {"a": torch.zeros(1)}), store)


def test_without_a_name_nothing_is_taken_over(store):
    network = build(SMALL, gland=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    begin(SMALL, network, store)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_resnet_inside_another_file_is_found(store, tmp_path):
    """As PyTorch Lightning saves a training: tensors under "state_dict", the ResNet's after "model.resnet."."""
    state = build(CerberusSpec(encoder="resnet18")).encoder.state_dict()
    inside = {f"model.resnet.{name}": value for name, value in state.items()}
    path = tmp_path / "lightning.ckpt"
    saved(path, {"epoch": 3, "state_dict": {**inside, "model.projection.weight": torch.ones(3)}})
    spec = CerberusSpec(encoder="resnet18", weights=starting.put_weights(path, store))
    network = build(spec)
    begin(spec, network, store)
    assert all(torch.equal(network.state_dict()[f"encoder.{name}"], value) for name, value in state.items())
    assert "encoder.projection.weight" not in spec.starting_weights(store)
