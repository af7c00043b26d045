"""Rota-Net: sizes, branches, and that what it says turns with the image."""

import math
from dataclasses import replace

import pytest
import torch

from histoseg.models.rotanet.network import RotaNetParts, build, with_heads
from tests.models.drawn_batch import batch_of, count, images

PARTS = RotaNetParts(num_classes={"gland": 3, "lumen": 2}, width=2)


def unit(before, after):
    """The parameters of a residual unit: filters of four maps, and two numbers for each feature of a norm."""
    convolutions = 4 * 9 * (before * after + after**2) + 2 * 2 * after
    return convolutions + (4 * before * after if before != after else 0)


def test_it_has_as_many_parameters_as_its_layers_add_up_to():
    """By hand; a quarter of what as many channels have without the group: there each map has filters of its own."""
    widths = [16, 32, 64, 128, 256]
    encoder = 3 * 16 * 49 + 2 * 16 + unit(16, 16) + sum(unit(width // 2, width) for width in widths[1:])
    decoder = sum(4 * 2 * width * width + unit(width, width) for width in widths[:-1])
    hidden = 16 * 96 + 96 + 2 * 96
    branch = 4 * 9 * 16 * 16 + 2 * 16 + hidden
    network = build(replace(PARTS, width=16), 0)
    assert count(network.encoder) == encoder
    assert count(network.decoder) == decoder
    assert count(network.heads["gland"]) == branch + 96 * 3 + 3
    assert count(network.heads["lumen"]) == branch + 96 * 2 + 2
    assert count(network) == 6_661_429


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("trained", [False, True])
def test_what_it_says_turns_with_the_image(turns, trained):
    """To floating point, for the whole network, with the statistics of a batch and with running ones."""
    network = build(PARTS, 0).double().train(trained)
    straight = network(images(2, 32))
    turned = network(torch.rot90(images(2, 32), turns, (1, 2)))
    for name, logits in straight.items():
        scale = logits.abs().max().item()
        torch.testing.assert_close(turned[name], torch.rot90(logits, turns, (2, 3)), rtol=0, atol=1e-10 * scale)


def test_branches_answer_at_full_size():
    found = build(PARTS, 0)(images(2, 48))
    assert {name: tuple(x.shape) for name, x in found.items()} == {"gland": (2, 3, 48, 48), "lumen": (2, 2, 48, 48)}


def test_the_loss_of_a_step_is_the_mean_over_each_structures_patches():
    """Last weights of zero make every class as probable: ln 3 for glands, ln 2 for lumina, each by its weight."""
    network = build(PARTS, 0)
    for head in network.heads.values():
        head.head[-1].weight.data.zero_()
    batch = batch_of(("gland", "gland", "lumen"))
    batch = replace(batch, classes=batch.classes % 2)
    assert network.step_loss(batch, {}).item() == pytest.approx(math.log(3) + math.log(2), rel=1e-6)
    assert network.step_loss(batch, {"lumen": 3.0}).item() == pytest.approx(math.log(3) + 3 * math.log(2), rel=1e-6)


def test_a_rank_without_patches_computes_nothing_and_fails_at_nothing():
    loss = build(PARTS, 0).step_loss(replace(batch_of(()), counts={"gland": 1}), {})
    loss.backward()
    assert loss.item() == 0


def test_a_branch_does_not_depend_on_which_others_there_are():
    one, two = build(replace(PARTS, num_classes={"lumen": 2}), 0), build(PARTS, 0)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    wider = with_heads(one, {"gland": 3}, 5)
    assert set(wider.heads) == {"gland", "lumen"}
    assert torch.equal(wider.encoder.stem[0].weight, one.encoder.stem[0].weight)


def test_images_it_cannot_take_are_refused_in_one_line():
    with pytest.raises(ValueError, match="side of 40 px; Rota-Net takes multiples of 16"):
        build(PARTS, 0).encode(images(1, 40))
