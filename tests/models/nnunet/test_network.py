"""nnU-Net: how deep it is, what it is made of, and the loss of a step."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from histoseg.errors import ConfigError
from histoseg.models.nnunet.loss import DICE_EPSILON, level_weights, losses_of_step
from histoseg.models.nnunet.network import NNUNetParts, build, two_convolutions, with_heads
from histoseg.models.nnunet.sizes import num_stages_of, require_patch, widths_of
from tests.models.drawn_batch import batch_of, images

PARTS = NNUNetParts(structures=("gland",), width=2, num_stages=4)


@pytest.mark.parametrize(
    ("side", "stages", "smallest"), [(64, 5, 4), (96, 5, 6), (192, 6, 6), (448, 7, 7), (512, 8, 4)]
)
def test_patches_are_halved_as_long_as_four_cells_are_left(side, stages, smallest):
    """By hand: 448 is halved six times, to 7; once more would leave 3.5. 512 is nnU-Net's own example in 2D."""
    assert num_stages_of(side) == stages
    assert side / 2 ** (stages - 1) == smallest
    require_patch(side)
    network = build(NNUNetParts(structures=("gland",), width=1, num_stages=stages), 0)
    assert network.encoder(torch.zeros(1, 3, side, side))[-1].shape[2:] == (smallest, smallest)


@pytest.mark.parametrize(("side", "rule"), [(100, "a multiple of 16"), (272, "a multiple of 64"), (6, "8 or more")])
def test_patches_it_cannot_take_are_refused_in_one_line(side, rule):
    with pytest.raises(ConfigError, match=rf"^network\.patch_px = {side}: must be {rule}[^\n]*$"):
        require_patch(side)


def test_channels_are_doubled_up_to_512():
    assert widths_of(32, 7) == [32, 64, 128, 256, 512, 512, 512]


def conv(before, after, kernel=3):
    """The parameters of a convolution with a bias; of its normalisation there are two for each channel."""
    return before * after * kernel**2 + after


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_it_has_as_many_parameters_as_its_layers_add_up_to():
    """By hand, layer by layer, for patches of 448 pixels; logits at the five largest of six sizes."""
    widths = [32, 64, 128, 256, 512, 512, 512]
    encoder = sum(conv(before, after) + conv(after, after) + 4 * after for before, after in pairwise([3, *widths]))
    decoder = sum(
        conv(below, own, 2) + conv(2 * own, own) + conv(own, own) + 4 * own for own, below in pairwise(widths)
    )
    heads = sum(conv(width, 3, 1) for width in widths[:5])
    network = build(NNUNetParts(structures=("gland",)), 0)
    assert [count(part) for part in (network.encoder, network.decoder, network.heads)] == [encoder, decoder, heads]
    assert count(network) == 33_472_367


def test_a_stage_is_convolution_instance_norm_and_leaky_relu_twice():
    """Written out with torch's own layers; the first convolution halves the size."""
    stage, x = two_convolutions(2, 3, stride=2), torch.randn(2, 2, 8, 8)
    wanted = x
    for layer, norm, step in ((stage[0], stage[1], 2), (stage[3], stage[4], 1)):
        own = nn.InstanceNorm2d(3, affine=True)
        own.load_state_dict(norm.state_dict())
        wanted = nn.functional.conv2d(wanted, layer.weight, layer.bias, stride=step, padding=1)
        wanted = nn.functional.leaky_relu(own(wanted), 0.01)
    assert wanted.shape == (2, 3, 4, 4)
    torch.testing.assert_close(stage(x), wanted)


def test_logits_come_at_each_size_but_the_two_smallest():
    """Of four stages the smallest is the encoder's alone, and the lowest prediction is left out."""
    network = build(replace(PARTS, structures=("gland", "lumen")), 0)
    assert [tuple(x.shape) for x in network.encode(images(2, 32))] == [(2, 2, 32, 32), (2, 4, 16, 16)]
    assert [tuple(x.shape) for x in network.decode(network.encode(images(2, 32)), "lumen")] == [
        (2, 3, 32, 32),
        (2, 3, 16, 16),
    ]
    assert {name: tuple(x.shape) for name, x in network(images(2, 32)).items()} == dict.fromkeys(
        ("gland", "lumen"), (2, 3, 32, 32)
    )


def test_levels_count_half_of_the_one_before():
    """By hand for five stages: four predictions, the last left out; 1, 1/2, 1/4 of 7/4."""
    assert level_weights(5) == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    assert level_weights(3) == [1]
    assert sum(level_weights(7)) == pytest.approx(1)


def test_the_loss_by_hand():
    """Equal logits: cross-entropy ln 3, a third of each class everywhere.

    Of 16 pixels one is unknown, five are core, four border, so Dice is 2 (5/3) / (5 + 5) and 2 (4/3) / (4 + 5).
    Of every second pixel, four, one is unknown and all others core: Dice is 2 (3/3) / (3 + 1) and 0.
    """
    classes = torch.tensor([[[0, 1, 1, 2], [0, 0, 0, 2], [1, 2, 1, 2], [0, 0, 1, 0]]], dtype=torch.uint8)
    known = torch.ones(1, 4, 4)
    known[0, 0, 0] = 0
    levels = [torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 2, 2)]
    found = losses_of_step([levels], [classes], [known])
    dice = [(2 * 5 / 3 / 10 + 2 * 4 / 3 / 9) / 2, (2 / 4 + DICE_EPSILON / (DICE_EPSILON + 1)) / 2]
    assert found[0].tolist() == pytest.approx([math.log(3) + 1 - own for own in dice], rel=1e-4)


def test_a_perfect_prediction_costs_nothing():
    classes = torch.randint(0, 3, (2, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sure = 50 * nn.functional.one_hot(classes.long(), 3).permute(0, 3, 1, 2).float()
    assert losses_of_step([[sure]], [classes], [torch.ones(2, 8, 8)]).item() == pytest.approx(0, abs=1e-5)


def test_dice_is_of_the_whole_batch():
    """Two patches, one with and one without core: the loss of both differs from the mean of their losses."""
    classes = torch.zeros(2, 4, 4, dtype=torch.uint8)
    classes[0, :2] = 1
    logits, known = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)), torch.ones(2, 4, 4)
    p = logits.softmax(dim=1)
    dice = [(2 * (p[:, i] * (classes == i)).sum() / (p[:, i] + (classes == i)).sum()).item() for i in (1, 2)]
    wanted = nn.functional.cross_entropy(logits, classes.long()).item() + 1 - sum(dice) / 2
    assert losses_of_step([[logits]], [classes], [known]).item() == pytest.approx(wanted, rel=1e-4)


def test_a_step_is_the_weighted_sum_of_its_levels_and_structures():
    network = build(replace(PARTS, structures=("gland", "lumen")), 0)
    batch = batch_of(("gland", "gland", "lumen"))
    parts = {name: network.decode(network.encode(torch.from_numpy(batch.images)), name) for name in network.heads}
    wanted = 0.0
    for name, share in (("gland", 1.0), ("lumen", 3.0)):
        own = batch.owned(name)
        levels = [logits[own] for logits in parts[name]]
        classes, known = torch.from_numpy(batch.classes[own]), torch.ones(batch.classes[own].shape)
        found = losses_of_step([levels], [classes], [known])[0]
        wanted += share * (2 / 3 * found[0] + 1 / 3 * found[1]).item()
    assert network.step_loss(batch, {"lumen": 3.0}).item() == pytest.approx(wanted, rel=1e-5)


def test_every_weight_learns():
    network = build(PARTS, 0)
    network.step_loss(batch_of(("gland", "gland")), {}).backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]


def test_a_rank_without_patches_computes_nothing_and_fails_at_nothing():
    network = build(PARTS, 0)
    network.step_loss(replace(batch_of(()), counts={"gland": 2}), {}).backward()
    assert all(p.grad is None or not p.grad.any() for p in network.parameters())


def test_a_head_does_not_depend_on_which_others_there_are():
    one, two = build(PARTS, 0), build(replace(PARTS, structures=("lumen", "gland")), 0)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    wider = with_heads(one, ("lumen",), 3)
    assert set(wider.heads) == {"gland", "lumen"}
    assert torch.equal(wider.encoder.stages[0][0].weight, one.encoder.stages[0][0].weight)
    assert not torch.equal(one.encoder.stages[0][0].weight, build(PARTS, 1).encoder.stages[0][0].weight)


def test_first_weights_are_drawn_after_he():
    """A deviation of √(2 / (1 + 0.01²) / fan-in), after He et al. 2015 with the slope of leaky ReLU; biases are 0."""
    layer = build(NNUNetParts(structures=("gland",), width=16, num_stages=4), 0).encoder.stages[2][3]
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / 1.0001 / (64 * 9)), rel=0.03)
    assert not layer.bias.any()


def test_images_it_cannot_take_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"side of 36 px; this nnU-Net takes multiples of 8"):
        build(PARTS, 0).encode(images(1, 36))
