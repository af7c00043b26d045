"""The folder of a model: one layout for every network, and the first layout, which is still read."""

import json

import pytest
import torch

from histoseg.errors import CheckpointError, ConfigError
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.spec import Heads
from histoseg.models.unet import UNetSpec
from histoseg.models.weights import Model, load_model, save_model
from histoseg.store.objects import FileStore

CERBERUS = CerberusSpec(encoder="unet", width=8, contour=True)
MODELS = [
    (CERBERUS, Heads(num_classes={"gland": 3, "gland_type": 4, "tissue": 9}, tissue_px=96)),
    (CERBERUS, Heads(num_classes={"nuclei": 3}, tissue_px=144)),
    (CERBERUS, Heads(num_classes={"nuclei": 3, "nuclei_type": 4}, tissue_px=96, branches={"nuclei_type": "nuclei"})),
    (UNetSpec(width=4, norm="batch"), Heads(num_classes={"glas": 2, "lab": 5})),
]


@pytest.fixture
def store(tmp_path):
    return FileStore(tmp_path)


def put(store, spec=CERBERUS, heads=MODELS[0][1], **changes):
    """The folder of a model with random numbers, statistics of normalisation included."""
    network = spec.rebuild(heads)
    random = torch.Generator().manual_seed(0)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5, generator=random)
    classes = {name: tuple(f"class {i}" for i in range(count)) for name, count in heads.num_classes.items()}
    model = Model(spec=spec, network=network, classes=classes, mpp=0.25, origin="a test", **changes)
    save_model(model, store, "model")
    return store.root / "model", network, classes


def edit(folder, **changes):
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(("spec", "heads"), MODELS)
def test_a_model_of_any_network_is_read_as_it_was_written(store, spec, heads):
    folder, network, classes = put(store, spec, heads)
    model = load_model(folder)
    assert (model.spec, model.classes, model.mpp, model.origin) == (spec, classes, 0.25, "a test")
    assert model.spec.heads(model.network) == heads
    assert not model.network.training
    again = model.network.state_dict()
    assert again.keys() == network.state_dict().keys()
    assert all(torch.equal(again[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("steps", "made_up", "said"),
    [
        (16, (), ["the model was trained for 16 steps only"]),
        (99, ("glas", "lab"), ["made-up images (demo data of glas, lab)", "for 99 steps only"]),
        (100, ("glas",), ["made-up images (demo data of glas)"]),
        (100, (), []),
        (None, (), []),
    ],
)
def test_a_model_that_has_learnt_little_says_so_when_it_is_read(store, caplog, steps, made_up, said):
    folder, _, _ = put(store, steps=steps, made_up=made_up)
    model = load_model(folder)
    assert (model.steps, model.made_up) == (steps, made_up)
    assert len(model.caveats) == len(caplog.messages) == len(said)
    for text, caveat, line in zip(said, model.caveats, caplog.messages, strict=True):
        assert text in caveat
        assert f"{folder}: {caveat}" in line


def test_a_model_of_an_earlier_version_says_nothing(store, caplog):
    folder, _, _ = put(store, steps=3, made_up=("glas",))
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({k: v for k, v in about.items() if k not in ("steps", "made_up")}))
    model = load_model(folder)
    assert (model.steps, model.made_up, model.caveats) == (None, (), ())
    assert not caplog.messages


def test_the_description_names_the_network_and_its_settings(store):
    folder, _, _ = put(store)
    about = json.loads((folder / "model.json").read_text())
    assert about["format"] == 2
    assert about["network"] == {"name": "cerberus", "encoder": "unet", "width": 8, "weights": "", "contour": True}
    assert about["heads"] == {"gland": 3, "gland_type": 4, "tissue": 9}
    assert about["tissue_px"] == 96


@pytest.mark.parametrize(("count", "contour"), [(2, False), (3, True)])
def test_the_first_format_is_still_read(store, count, contour):
    """`spec` is what histoseg 0.1.0 writes for a Cerberus."""
    spec = CerberusSpec(encoder="unet", width=8, contour=contour)
    folder, network, _ = put(
        store, spec, Heads(num_classes={"gland": count, "gland_type": 3, "tissue": 4}, tissue_px=96)
    )
    about = json.loads((folder / "model.json").read_text())
    old = {name: about[name] for name in ("classes", "mpp", "origin", "sha256")}
    parts = {"decoders": {"gland": count, "gland_type": 3}, "tissue": 4, "tissue_cells": 6}
    old |= {"format": 1, "spec": {"network": {"encoder": "unet", "width": 8, "weights": ""}, **parts}}
    (folder / "model.json").write_text(json.dumps(old))
    model = load_model(folder)
    assert model.spec == spec
    assert model.network.parts == network.parts
    assert torch.equal(model.network.conv_map.weight, network.conv_map.weight)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.json").unlink(), "holds no model.json"),
        (lambda folder: (folder / "model.json").write_text("{}"), "does not describe a model"),
        (lambda folder: (folder / "model.json").write_text("[]"), "does not describe a model"),
        (lambda folder: edit(folder, format=99), "has format 99; this version reads 1 and 2"),
        (lambda folder: edit(folder, network={"name": "cerberus", "nope": 1}), "does not describe a model"),
        (lambda folder: edit(folder, format=1, spec={"nope": 1}), "does not describe a model"),
        (lambda folder: edit(folder, heads={"lumen": 3}), "is of another layout: lacks decoders.lumen"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "is not the file that model.json describes"),
    ],
)
def test_a_damaged_model_is_refused(store, damage, message):
    folder, _, _ = put(store)
    assert load_model(folder).sha256 == json.loads((folder / "model.json").read_text())["sha256"]
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        load_model(folder)


def test_a_network_that_is_not_installed_is_named(store):
    folder, _, _ = put(store)
    edit(folder, network={"name": "segnet"})
    with pytest.raises(ConfigError, match=r"no 'segnet' in models; choose from cellpose, cerberus, .*unet"):
        load_model(folder)


def test_the_description_is_written_last(store, monkeypatch):
    written = []
    monkeypatch.setattr(store, "put", lambda key, body: written.append(key))
    put(store)
    assert written == ["model/model.safetensors", "model/model.json"]
