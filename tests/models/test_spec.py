"""What every network's settings can do, whichever network it is, and what they refuse."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from histoseg.errors import ConfigError, DataError
from histoseg.maps.windows import MarginWindows, OverlapWindows
from histoseg.models.cerberus import CerberusSpec, Encoder
from histoseg.models.cerberus.network import with_type_decoder
from histoseg.models.encoder import SHAPES
from histoseg.models.mildnet import MildNetSpec
from histoseg.models.network import Network
from histoseg.models.nnunet import NNUNetSpec
from histoseg.models.rotanet import RotaNetSpec
from histoseg.models.spec import Heads, NetworkSpec
from histoseg.models.unet import UNetSpec
from histoseg.runs import catalog
from histoseg.types import Task

SPECS = {"cerberus": CerberusSpec(encoder="resnet18", width=4), "unet": UNetSpec(width=4)}
OF_OBJECTS = {  # They learn no tissue.
    "mildnet": MildNetSpec(width=4),
    "nnunet": NNUNetSpec(width=2, patch_px=64),
    "rotanet": RotaNetSpec(width=2),
}
WINDOWS = MarginWindows(window_px=96, margin_px=16)


def task(name, structure="", classes=("background", "a")):
    return Task(name=name, title=name, classes=classes, mpp=0.5, licence="", structure=structure)


TASKS = {
    "glas": task("glas", "gland"),
    "crag": task("crag", "gland"),
    "lizard": task("lizard", "nuclei", ("background", "a", "b")),
    "kather": task("kather", "tissue", ("background", "fat", "muscle")),
}


def draw_image(height=40, width=50):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_a_network_is_a_folder():
    assert catalog.names("histoseg.models") == sorted(
        [*SPECS, *OF_OBJECTS, "cellpose", "hovernet", "probe", "retinanet"]
    )  # Of the last four, the first two learn one structure, the third finds nothing, the fourth boxes.


@pytest.mark.parametrize("name", [*SPECS, *OF_OBJECTS])
def test_every_network_does_what_the_protocol_says(name):
    spec = (SPECS | OF_OBJECTS)[name]
    tasks = {key: each for key, each in TASKS.items() if name in SPECS or each.structure != "tissue"}
    assert isinstance(spec, catalog.load("histoseg.models", name).SPEC)
    assert isinstance(spec, NetworkSpec)
    network = spec.build(tasks, 3, 48).eval()
    assert isinstance(network, Network)
    heads = spec.heads(network)
    again = spec.rebuild(heads)
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in network.state_dict().items()}
    assert spec.heads(again) == heads
    prediction = spec.predict(network, draw_image(), WINDOWS)
    maps = [*prediction.instance_maps.values(), *prediction.semantic_maps.values()]
    assert maps
    assert {found.shape for found in maps} == {(40, 50)}


def test_a_head_on_a_branch_stays_where_it_is_when_others_are_added():
    spec = SPECS["cerberus"]
    before = with_type_decoder(spec.build({"lizard": TASKS["lizard"]}, 3, 0), "nuclei", 3, 1, on_branch=True)
    after = spec.extend(before, {"glas": TASKS["glas"]}, 5)
    assert spec.heads(after) == replace(spec.heads(before), num_classes={"nuclei": 2, "nuclei_type": 3, "gland": 2})
    assert spec.heads(after).branches == {"nuclei_type": "nuclei"}
    own = after.state_dict()
    assert all(torch.equal(own[name], value) for name, value in before.state_dict().items())


def test_a_unet_has_a_head_for_each_task():
    spec = SPECS["unet"]
    assert spec.heads(spec.build(TASKS, 0, 48)) == Heads(
        num_classes={"glas": 2, "crag": 2, "lizard": 3, "kather": 3}, tissue_px=0
    )


@pytest.mark.parametrize(("contour", "count"), [(False, 2), (True, 3)])
def test_cerberus_has_a_decoder_for_each_structure(contour, count):
    spec = CerberusSpec(encoder="resnet18", width=4, contour=contour)
    assert spec.heads(spec.build(TASKS, 0, 48)) == Heads(
        num_classes={"gland": count, "nuclei": count, "tissue": 3}, tissue_px=48
    )
    assert spec.heads(spec.build({"glas": TASKS["glas"]}, 0, 48)).num_classes == {"gland": count}


def test_tasks_of_tissue_must_agree():
    other = {"crc": task("crc", "tissue", ("background", "fat", "bone"))}
    with pytest.raises(DataError, match="kather and crc differ in their classes of tissue"):
        SPECS["cerberus"].build({**TASKS, **other}, 0, 48)


def test_an_extended_cerberus_keeps_what_fits():
    spec = SPECS["cerberus"]
    before = spec.build({name: TASKS[name] for name in ("glas", "kather")}, 0, 48)
    tasks = {"lumen": task("lumen", "lumen"), "crc": task("crc", "tissue", ("background", "fat"))}
    after = spec.extend(before, tasks, 1)
    assert spec.heads(after) == Heads(num_classes={"gland": 2, "lumen": 2, "tissue": 2}, tissue_px=48)
    old, new = before.state_dict(), after.state_dict()
    kept = [name for name in old if not name.startswith("tissue.conv2")]  # That has one class less.
    assert all(torch.equal(old[name], new[name]) for name in kept)
    assert new["tissue.conv2.bias"].shape == (2,)


def test_an_extended_unet_keeps_its_body_only():
    spec = SPECS["unet"]
    before = spec.build({"glas": TASKS["glas"]}, 0, 48)
    after = spec.extend(before, {"lizard": TASKS["lizard"]}, 1)
    assert spec.heads(after).num_classes == {"lizard": 3}
    old, new = before.state_dict(), after.state_dict()
    assert all(torch.equal(old[name], new[name]) for name in old if not name.startswith("heads."))


def test_only_the_chosen_heads_are_predicted():
    cerberus, unet = (spec.build(TASKS, 0, 48).eval() for spec in SPECS.values())
    found = SPECS["cerberus"].predict(cerberus, draw_image(), WINDOWS, heads=["nuclei"])
    assert list(found.instance_maps) == ["nuclei"]
    found = SPECS["unet"].predict(unet, draw_image(), OverlapWindows(window_px=32), heads=["glas"])
    assert list(found.semantic_maps) == ["glas"]


def test_cerberus_learns_what_its_settings_say():
    square = np.zeros((40, 40), np.int32)
    square[10:30, 10:30] = 1
    for contour in (False, True):
        assert CerberusSpec(contour=contour).target(square, "gland").classes.max() == 1 + contour
    # At 1 micron per pixel the element of a gland has 6 pixels instead of 11, so that more is left.
    coarse, fine = (CerberusSpec().target(square, "gland", mpp).classes.sum() for mpp in (1.0, 0.5))
    assert coarse > fine > 0


def test_cerberus_needs_windows_with_a_margin():
    network = SPECS["cerberus"].build(TASKS, 0, 48).eval()
    with pytest.raises(ConfigError, match="must have a margin"):
        SPECS["cerberus"].predict(network, draw_image(), OverlapWindows())


@pytest.mark.parametrize("name", SPECS)
def test_the_network_of_other_settings_is_refused(name):
    (other,) = (spec for key, spec in SPECS.items() if key != name)
    with pytest.raises(TypeError, match="is not a"):
        SPECS[name].heads(other.build(TASKS, 0, 48))


def test_every_encoder_can_be_built():
    assert {*get_args(Encoder)} == {*SHAPES, "unet"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CerberusSpec(width=6), "network.width = 6"),
        (lambda: CerberusSpec(width=0), "network.width = 0"),
        (lambda: CerberusSpec(weights="imagenet", width=32), "network.weights = 'imagenet'"),
        (lambda: CerberusSpec(weights="imagenet", encoder="unet"), "network.weights = 'imagenet'"),
        (lambda: CerberusSpec(weights="best"), "network.weights = 'best'"),
        (lambda: UNetSpec(width=6), "network.width = 6"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
