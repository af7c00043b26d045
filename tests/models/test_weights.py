"""Foreign and own files of weights. The fake published checkpoint is a network of ours under the published names."""

import hashlib
import json
import pathlib
import zipfile

import pytest
import torch
from torch.nn import functional

from histoseg.errors import CheckpointError, StorageError
from histoseg.models import weights
from histoseg.models.cerberus.network import CerberusParts, build
from histoseg.store.objects import FileStore

# SHA-256 of the sorted lines "name<tab>shape<tab>dtype" of the published six-head checkpoint, computed from a listing
# of that file.
LAYOUT = "4c83dfb30b765e83fabb22e0a339d26bdec41bfb4e215a9d95826160a2a04638"
HEADS = {"Gland": "INST", "Lumen": "INST", "Nuclei": "INST", "Nuclei#TYPE": "TYPE", "Gland#TYPE": "TYPE"}


@pytest.fixture(scope="module")
def checkpoint():
    """Tensors of the published layout, statistics of batch normalisation included, all of them random."""
    spec = CerberusParts(decoders={"gland": 3, "lumen": 3, "nuclei": 3, "nuclei_type": 7, "gland_type": 3}, tissue=9)
    random = torch.Generator().manual_seed(0)
    tensors = {weights.published_name(name): value for name, value in build(spec, 0).state_dict().items()}
    for value in tensors.values():
        if value.dim() == 1:  # All of batch normalisation, and biases.
            value.uniform_(0.5, 1.5, generator=random)
    tensors["backbone.fc.weight"], tensors["backbone.fc.bias"] = torch.zeros(1000, 512), torch.zeros(1000)
    return tensors


@pytest.fixture
def published(checkpoint, tmp_path):
    torch.save({"desc": checkpoint}, tmp_path / "weights.tar")
    return tmp_path / "weights.tar"


def saved(path, tensors, key="desc"):
    torch.save({key: tensors} if key else tensors, path)
    return path


def small(decoders, encoder="unet", seed=0, width=8):
    return build(CerberusParts(encoder=encoder, width=width, decoders=decoders), seed)


@pytest.fixture
def store(tmp_path):
    return FileStore(tmp_path / "store")


def test_the_fake_checkpoint_has_the_published_layout(checkpoint):
    assert len(checkpoint) == 558
    lines = [f"{name}\t{list(value.shape)}\t{str(value.dtype)[6:]}" for name, value in checkpoint.items()]
    assert hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest() == LAYOUT
    counted = [value for name, value in checkpoint.items() if "running_" not in name and "num_batches" not in name]
    assert sum(value.numel() for value in counted) == 28_377_284  # The published count, with an unused classifier


class Published:
    """The published forward pass, restated from its description on the tensors of the file."""

    def __init__(self, tensors):
        self.tensors = tensors

    def conv(self, x, name, stride=1, padding=0):
        return functional.conv2d(
            x, self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias"), stride=stride, padding=padding
        )

    def norm(self, x, name):
        mean, variance, weight, bias = (
            self.tensors[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(x, mean, variance, weight, bias, training=False, eps=1e-5)

    def block(self, x, name, stride):
        y = functional.relu(self.norm(self.conv(x, f"{name}.conv1", stride, 1), f"{name}.bn1"))
        y = self.norm(self.conv(y, f"{name}.conv2", 1, 1), f"{name}.bn2")
        if f"{name}.downsample.0.weight" in self.tensors:
            x = self.norm(self.conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
        return functional.relu(x + y)

    def encode(self, images):
        x = images.permute(0, 3, 1, 2).float() / 255
        features = [functional.relu(self.norm(self.conv(x, "backbone.conv1", 1, 3), "backbone.bn1"))]
        x = functional.max_pool2d(features[0], kernel_size=3, stride=2, padding=1)
        for layer, count in enumerate((3, 4, 6, 3), start=1):
            for i in range(count):
                x = self.block(x, f"backbone.layer{layer}.{i}", 2 if layer > 1 and i == 0 else 1)
            features.append(x)
        return features

    def decode(self, features, head):
        x = self.conv(features[4], "conv_map")
        for stage, skip in enumerate(features[3::-1]):
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False) + skip
            for i in range(2):
                name = f"decoder_head.{head}.{stage}.block.{i}"
                x = functional.relu(self.norm(self.conv(x, f"{name}.conv", 1, 1), f"{name}.bn"))
        name = f"output_head.{head}.{HEADS[head]}.x"
        x = functional.relu(self.norm(self.conv(x, f"{name}.0.block.0.conv"), f"{name}.0.block.0.bn"))
        return self.conv(x, f"{name}.1.conv")

    def classify(self, features):
        x = features[4][:, :, 9:18, 9:18].mean(dim=(2, 3), keepdim=True)
        for i in (1, 2):
            name = "decoder_head.Patch-Class"
            x = self.conv(functional.relu(self.norm(x, f"{name}.bn{i}")), f"{name}.conv{i}")
        return x


def assert_close(ours, theirs):
    """To 1e-5 of the largest: random weights do not keep numbers near 1."""
    assert ours.shape == theirs.shape
    assert theirs.std() > 0
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.slow
@torch.no_grad()
def test_the_imported_network_computes_what_the_published_one_does(published, checkpoint):
    network = weights.read_published(published)
    images = torch.randint(0, 256, (1, 448, 448, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    theirs = Published(checkpoint)
    features = theirs.encode(images)
    ours = network.encode(images)
    for own, published_features in zip(ours, features, strict=True):
        assert_close(own, published_features)
    for head in HEADS:
        assert_close(network.decode(ours, weights.HEADS[head]), theirs.decode(features, head))
    assert_close(network.classify([ours[-1][:, :, 9:18, 9:18]]), theirs.classify(features))


def test_forward_classifies_the_square_in_the_middle():
    network = build(CerberusParts(encoder="unet", width=8, tissue=3, tissue_cells=9), 0).eval()
    images = torch.randint(0, 256, (1, 448, 448, 3), dtype=torch.uint8)
    with torch.no_grad():
        middle = network.encode(images)[-1][:, :, 9:18, 9:18]  # The published code's cells of 28
        assert torch.equal(network(images)["tissue"], network.classify([middle]))


def test_importing_gives_a_model_with_class_names(published, store):
    model = weights.import_published(published)
    assert sum(value.numel() for value in model.network.parameters()) == 28_377_284 - 513_000  # Without the classifier
    counts = {name: len(names) for name, names in model.classes.items()}
    assert counts == {"nuclei_type": 7, "gland_type": 3, "tissue": 9}
    assert model.mpp == 0.5
    assert "weights.tar" in model.origin
    assert not model.network.training
    weights.save_model(model, store, "model")
    again = weights.load_model(store.root / "model")
    assert again.classes == model.classes
    assert all(
        torch.equal(again.network.state_dict()[name], value) for name, value in model.network.state_dict().items()
    )


def test_data_parallel_prefixes_are_left_out(checkpoint, tmp_path):
    path = saved(tmp_path / "weights.tar", {f"module.{name}": value for name, value in checkpoint.items()})
    assert set(weights.read_published(path).decoders) == set(weights.HEADS.values())


def without(name):
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def replaced(name, value):
    return lambda tensors: {**tensors, name: value}


GLAND_OUT = "output_head.Gland.INST.x.1.conv.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("conv_map.weight"), "lacks conv_map.weight"),
        (without("backbone.conv1.weight"), "lacks backbone.conv1.weight"),
        (without("decoder_head.Lumen.2.block.1.bn.bias"), r"lacks decoder_head.Lumen.2.block.1.bn.bias"),
        (without("output_head.Nuclei#TYPE.TYPE.x.0.block.0.conv.bias"), r"lacks output_head.Nuclei#TYPE.TYPE.x.0"),
        (without("decoder_head.Patch-Class.bn1.weight"), r"lacks decoder_head.Patch-Class.bn1.weight"),
        (without(GLAND_OUT), "has decoder_head.Gland.0.block.0.bn.weight, which the network has not"),
        (replaced("output_head.Other.INST.x.1.conv.bias", torch.zeros(3)), "has output_head.Other.INST"),
        (replaced("encoder.conv1.weight", torch.zeros(64, 3, 7, 7)), "has encoder.conv1.weight"),
        (replaced("conv_map.weight", torch.zeros(256, 512)), r"conv_map.weight is \(256, 512\) instead of \(256, 512"),
        (replaced(GLAND_OUT, torch.zeros(5)), r"Gland.INST.x.1.conv.bias is \(5,\); expected 2 or 3 numbers"),
        (replaced(GLAND_OUT, torch.zeros(())), r"Gland.INST.x.1.conv.bias is \(\); expected"),
        (replaced(GLAND_OUT, torch.zeros(0)), r"Gland.INST.x.1.conv.bias is \(0,\); expected"),
        (replaced(GLAND_OUT, torch.zeros(2)), r"Gland.INST.x.1.conv.weight is \(3, 96, 1, 1\) instead of \(2, 96"),
        (replaced("decoder_head.Patch-Class.conv2.bias", torch.zeros(4)), r"is \(4,\); expected 9 numbers"),
    ],
)  # fmt: skip
def test_another_layout_is_named_as_the_file_names_it(checkpoint, tmp_path, change, message):
    path = saved(tmp_path / "weights.tar", change(checkpoint))
    with pytest.raises(CheckpointError, match=message) as error:
        weights.read_published(path)
    assert "decoders." not in str(error.value)


def test_a_truncated_file_is_refused(published):
    published.write_bytes(published.read_bytes()[:100_000])
    with pytest.raises(CheckpointError, match="no file of weights that can be read safely"):
        weights.read_published(published)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        weights.read_published(tmp_path / "nope.tar")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(CheckpointError, match="read safely"):
        weights.read_published(tmp_path / "text")
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(CheckpointError, match="read safely"):
        weights.read_published(tmp_path / "zip")
    with pytest.raises(CheckpointError, match="holds list; expected tensors by name"):
        weights.read_published(saved(tmp_path / "list", [torch.zeros(1)], key=""))
    with pytest.raises(CheckpointError, match="expected tensors by name"):
        weights.read_published(saved(tmp_path / "nested", {"a": {"b": torch.zeros(1)}}))


class Hostile:
    """Its pickle makes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


@pytest.mark.parametrize("key", ["desc", ""])
def test_a_pickled_object_is_refused_unexecuted(tmp_path, key):
    path, made = tmp_path / "weights.tar", tmp_path / "made"
    torch.save({key: Hostile(made)} if key else Hostile(made), path)
    with pytest.raises(CheckpointError, match="read safely"):
        weights.read_published(path)
    assert not made.exists()
    torch.load(path, weights_only=False)
    assert made.exists()  # The file would have done it.


def resnet_file(encoder, path):
    """A file as torchvision's, classifier included, with made-up numbers."""
    state = build(CerberusParts(encoder=encoder), 7).encoder.state_dict()
    tensors = {**state, "fc.weight": torch.ones(1000, 512), "fc.bias": torch.ones(1000)}
    return saved(path, tensors, key="")


def expect_file(monkeypatch, encoder, path):
    first = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(weights, "IMAGENET", {encoder: f"https://example.org/{encoder}-{first}.pth"})


def encoder_of(network):
    return {name: value for name, value in network.state_dict().items() if name.startswith("encoder.")}


@pytest.mark.parametrize("encoder", ["resnet18", "resnet34"])
def test_training_begins_with_the_given_encoder(monkeypatch, store, tmp_path, encoder):
    path = resnet_file(encoder, tmp_path / "resnet.pth")
    expect_file(monkeypatch, encoder, path)
    assert weights.import_imagenet(path, store) == encoder
    spec = CerberusParts(encoder=encoder, decoders={"nuclei": 3})
    network, untouched = build(spec, 0), build(spec, 0)
    weights.start_from(network, "imagenet", encoder, store)
    given = torch.load(path, weights_only=True)
    for name, value in encoder_of(network).items():
        assert torch.equal(value, given[name.removeprefix("encoder.")])
    for name, value in untouched.state_dict().items():  # The file has no decoder: that is drawn as ever.
        if not name.startswith("encoder."):
            assert torch.equal(value, network.state_dict()[name])


def test_a_file_with_another_checksum_is_refused(store, tmp_path):
    path = resnet_file("resnet18", tmp_path / "resnet18-f37072fd.pth")
    with pytest.raises(CheckpointError, match=r"is none of resnet18-f37072fd\.pth.*going by its SHA-256"):
        weights.import_imagenet(path, store)
    with pytest.raises(CheckpointError, match="no such file"):
        weights.import_imagenet(tmp_path / "nope", store)
    assert store.list() == []


def test_the_hub_out_of_reach_is_one_line(monkeypatch, store):
    def unreachable(*args, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", unreachable)
    network = build(CerberusParts(encoder="resnet18", decoders={"gland": 2}), 0)
    with pytest.raises(StorageError, match=r"no route to host.*IMAGENET=file"):
        weights.start_from(network, "imagenet", "resnet18", store)


def save_small(store, network):
    model = weights.Model(network=network, classes={}, mpp=0.5, origin="a test")
    weights.save_model(model, store, "small")
    return store.root / "small"


def test_training_begins_with_a_model_of_ours_as_far_as_parts_are_shared(store):
    given = small({"gland": 2, "lumen": 2}, seed=1)
    name = weights.put_weights(save_small(store, given), store)
    network, drawn = (small({"gland": 2, "nuclei": 3}) for _ in range(2))
    weights.start_from(network, name, "unet", store)
    for key, value in network.state_dict().items():
        source = drawn if key.startswith("decoders.nuclei") else given
        assert torch.equal(value, source.state_dict()[key])


def test_weights_of_another_encoder_are_refused(store):
    name = weights.put_weights(save_small(store, small({"gland": 2}, "resnet18")), store)
    with pytest.raises(CheckpointError, match=r"lack encoder\.blocks.* of another one"):
        weights.start_from(small({"gland": 2}), name, "unet", store)


def test_weights_of_another_width_are_refused(store):
    name = weights.put_weights(save_small(store, small({"gland": 2})), store)
    with pytest.raises(CheckpointError, match=r"encoder\.blocks.* instead of"):
        weights.start_from(small({"gland": 2}, width=16), name, "unet", store)


def test_the_name_of_weights_stands_for_their_bytes(store, tmp_path):
    path = resnet_file("resnet18", tmp_path / "resnet.pth")
    name = weights.put_weights(path, store)
    assert hashlib.sha256(store.get(weights.weights_key(name))).hexdigest().startswith(name)
    assert weights.put_weights(path, store) == name
    with pytest.raises(CheckpointError, match=r"expected a ResNet in torchvision's format"):
        weights.put_weights(saved(tmp_path / "other", {"a": torch.zeros(1)}, key=""), store)


def test_without_a_name_nothing_is_taken_over(store):
    network = small({"gland": 2})
    before = {name: value.clone() for name, value in network.state_dict().items()}
    weights.start_from(network, "", "unet", store)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.json").unlink(), "holds no model.json"),
        (lambda folder: (folder / "model.json").write_text("{}"), "does not describe a model"),
        (lambda folder: edit(folder, format=99), "has format 99"),
        (lambda folder: edit(folder, spec={"nope": 1}), "does not describe a model"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "is not the file that model.json describes"),
    ],
)
def test_a_damaged_model_is_refused(store, damage, message):
    folder = save_small(store, small({"gland": 2}))
    assert weights.load_model(folder).sha256 == json.loads((folder / "model.json").read_text())["sha256"]
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        weights.load_model(folder)


def edit(folder, **changes):
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_description_is_written_last(store, monkeypatch):
    written = []
    monkeypatch.setattr(store, "put", lambda key, body: written.append(key))
    save_small(store, small({"gland": 2}))
    assert written == ["small/model.safetensors", "small/model.json"]
