"""HoVer-Net's architecture: sizes as published, numbers of parameters added up by hand, and what is refused."""

from dataclasses import replace

import pytest
import torch

from histoseg.errors import ConfigError, DataError
from histoseg.models.hovernet import HoVerNetSpec
from histoseg.models.hovernet.network import HoVerNetParts, build
from histoseg.models.hovernet.sizes import context_px, predicted_px
from histoseg.types import Task
from tests.small_store import make_task

TYPED = make_task("typed", ("background", "a", "b"), "instance", "nuclei")
PLAIN = make_task("plain", ("background", "nucleus"), "instance", "nuclei")


def count(parts):
    return sum(value.numel() for value in build(parts, 0).parameters())


def norm(channels):
    return 2 * channels


def residual(given, inner, out, units):
    """The published ResidualBlock: its first unit has no norm before, its last norm comes after the block."""
    total = given * out + norm(out)
    for i in range(units):
        before = out if i else given
        total += (
            (norm(before) if i else 0) + before * inner + norm(inner) + 9 * inner * inner + norm(inner) + inner * out
        )
    return total


def dense(given, units, kernel):
    """The published DenseBlock of 1×1 to 128 channels, and of `kernel` in four groups to 32."""
    total = sum(norm(c) + c * 128 + norm(128) + kernel**2 * 128 * 32 // 4 for c in range(given, given + 32 * units, 32))
    return total + norm(given + 32 * units)


def branch(kernel, outputs):
    k = kernel**2
    return (
        k * 1024 * 256 + dense(256, 8, kernel) + 512 * 512
        + k * 512 * 128 + dense(128, 4, kernel) + 256 * 256
        + k * 256 * 64 + norm(64) + 64 * outputs + outputs
    )  # fmt: skip


ENCODER = (
    49 * 3 * 64 + norm(64)
    + residual(64, 64, 256, 3) + residual(256, 128, 512, 4) + residual(512, 256, 1024, 6) + residual(1024, 512, 2048, 3)
    + 2048 * 1024
)  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "kernel", "num_types", "known"),
    [("fast", 3, 6, 37_639_626), ("fast", 3, 0, 33_625_412), ("original", 5, 5, 54_744_457)],
)
def test_parameters_are_those_of_the_published_architecture(mode, kernel, num_types, known):
    """Added up by hand from the layers of the published code; PromptNucSeg (Shui et al. 2024) states 37.6 M."""
    outputs = [2, 2, *([num_types] if num_types else [])]
    assert ENCODER + sum(branch(kernel, each) for each in outputs) == known
    assert count(HoVerNetParts(mode=mode, num_types=num_types)) == known


@pytest.mark.parametrize(("mode", "side", "predicted"), [("fast", 256, 164), ("original", 270, 80)])
def test_sizes_are_those_published(mode, side, predicted):
    """Graham et al. 2019, Sec. 3.1, and the README of the published code for the fast mode."""
    network = build(HoVerNetParts(mode=mode, num_types=5, width=8), 0).eval()
    found = network(torch.zeros(1, side, side, 3, dtype=torch.uint8))
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "np": (1, 2, predicted, predicted),
        "hv": (1, 2, predicted, predicted),
        "tp": (1, 5, predicted, predicted),
    }
    assert predicted_px(mode, side) == predicted == side - 2 * context_px(mode)


@pytest.mark.parametrize(("mode", "side", "least"), [("fast", 255, 96), ("fast", 88, 96), ("original", 256, 198)])
def test_patches_that_a_mode_cannot_take_are_refused(mode, side, least):
    with pytest.raises(ConfigError, match=rf"{mode}.*{side} pixels, only of {least}, {least + 8}"):
        predicted_px(mode, side)
    assert predicted_px(mode, least) >= 2


def test_the_same_seed_gives_the_same_network_and_leaves_the_global_state():
    state = torch.random.get_rng_state()
    one, same, other = (build(HoVerNetParts(width=8, num_types=3), seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert not torch.equal(one["bottom.weight"], other["bottom.weight"])
    shared = build(HoVerNetParts(width=8), 0).state_dict()
    assert all(torch.equal(value, one[name]) for name, value in shared.items())


def test_a_branch_for_classes_follows_from_the_sources():
    spec = HoVerNetSpec(width=8)
    network = spec.build({"typed": TYPED}, 0, 0)
    heads = spec.heads(network)
    assert heads.num_classes == {"nuclei": 2, "nuclei_type": 3}
    rebuilt = spec.rebuild(heads)
    assert {name: value.shape for name, value in rebuilt.state_dict().items()} == {
        name: value.shape for name, value in network.state_dict().items()
    }
    assert spec.heads(spec.build({"plain": PLAIN}, 0, 0)).num_classes == {"nuclei": 2}


def test_a_later_stage_goes_on_with_all_that_fits():
    spec = HoVerNetSpec(width=8)
    first = spec.build({"typed": TYPED}, 0, 0)
    first.encoder.requires_grad_(False)
    same = spec.extend(first, {"typed": TYPED}, 1)
    assert all(torch.equal(value, same.state_dict()[name]) for name, value in first.state_dict().items())
    assert all(parameter.requires_grad for parameter in same.parameters())
    wider = spec.extend(first, {"more": replace(TYPED, name="more", classes=("background", *"abc"))}, 1)
    assert wider.decoders["tp"].head.out_channels == 4
    assert torch.equal(wider.encoder.conv.weight, first.encoder.conv.weight)


@pytest.mark.parametrize(
    "tasks",
    [
        (TYPED, PLAIN),
        (TYPED, replace(TYPED, name="other", classes=("background", "b", "a"))),
        (PLAIN, replace(PLAIN, name="glands", structure="gland")),
        (Task(name="x", title="x", classes=("background", "x"), mpp=0.5, licence="none"),),
    ],
)
def test_sources_that_do_not_fit_each_other_are_refused(tasks):
    with pytest.raises(DataError, match=tasks[-1].name):
        HoVerNetSpec(width=8).build({task.name: task for task in tasks}, 0, 0)


@pytest.mark.parametrize("wrong", [{"width": 12}, {"distance_weight": -1.0}, {"weights": "imagenet"}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        HoVerNetSpec(**wrong)
