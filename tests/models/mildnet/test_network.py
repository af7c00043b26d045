"""MILD-Net: sizes, what its units compute, dropout and the loss of a step."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from histoseg.models.mildnet.loss import draw_kept, losses_per_image
from histoseg.models.mildnet.network import MildNetParts, build, with_heads
from histoseg.models.mildnet.units import RATES, AtrousPyramid, MilUnit, drop
from tests.models.drawn_batch import batch_of, count, images

PARTS = MildNetParts(structures=("gland",), width=4)


def conv(before, after, kernel, *, bias=True, norm=True):
    """The parameters of a convolution and its normalisation."""
    return before * after * kernel**2 + after * bias + 2 * after * norm


def test_it_has_as_many_parameters_as_its_layers_add_up_to():
    """By hand from the layers of Fig. 2; Cerberus' authors say that theirs has half of it, with 27.1 million."""
    encoder = conv(3, 64, 3) + conv(64, 64, 3)
    for before in (64, 128, 256):
        after = 2 * before
        encoder += conv(before, after, 3, bias=False) + conv(after, after, 3, bias=False)
        encoder += conv(3, before, 3) + conv(2 * before, after, 3)
        encoder += 2 * conv(after, after, 3, bias=False)
    encoder += 4 * 2 * conv(512, 512, 3, bias=False)
    pyramid = sum(conv(512, 1024, kernel, norm=False) for kernel in (1, 3, 3, 3, 1))
    pyramid += 5 * (conv(1024, 1024, 1, norm=False) + conv(1024, 128, 1, norm=False))
    decoder = sum(conv(own, own, 1) for own in (256, 128, 64))
    decoder += conv(640 + 256, 256, 3) + conv(256, 256, 3) + conv(256 + 128, 128, 3) + conv(128, 128, 3)
    branch = conv(128 + 64, 64, 3) + conv(64, 64, 3) + conv(64, 2, 1, norm=False) + conv(512, 2, 1, norm=False)
    network = build(MildNetParts(structures=("gland",)), 0)
    assert count(network.encoder) == encoder + pyramid
    assert count(network.decoder) == decoder
    assert count(network.heads["gland"]) == 2 * branch
    assert count(network) == 57_624_584
    assert count(network) / 27.1e6 == pytest.approx(2, abs=0.15)


def test_heads_answer_at_full_size_and_auxiliary_ones_too():
    network = build(replace(PARTS, structures=("gland", "lumen")), 0)
    found = network(images(2, 48))
    assert {name: [tuple(x.shape) for x in logits] for name, logits in found.items()} == dict.fromkeys(
        ("gland", "lumen"), [(2, 2, 48, 48)] * 2
    )
    seen, middle = network.encode(images(2, 48))
    assert (tuple(seen.shape), tuple(middle.shape)) == ((2, 12, 48, 48), (2, 32, 6, 6))
    assert [tuple(x.shape) for x in network.heads["gland"].assist(middle)] == [(2, 2, 48, 48)] * 2


def test_at_every_scale_the_image_comes_in_again():
    """Where nothing but zeros comes from the scale before, features still depend on the image."""
    network = build(PARTS, 0).eval()
    first, second = images(seed=1), images(seed=2)
    for level in range(3):
        unit, seen = network.encoder.mil[level], []
        without = unit.register_forward_pre_hook(lambda _, x: (0 * x[0], x[1]))
        noting = unit.register_forward_hook(lambda _, __, x, seen=seen: seen.append(x))
        network.encode(first)
        network.encode(second)
        without.remove()
        noting.remove()
        assert not torch.allclose(seen[0], seen[1])
        assert seen[0].shape[2] == 64 // 2 ** (level + 1)


def test_a_unit_adds_what_it_makes_of_the_image_to_what_it_makes_of_the_input():
    """y = F(x) + G(x, v): with F put to zero it is G, with G put to zero F, and their sum with both."""
    unit = MilUnit(4, 8).eval()
    x, image = torch.rand(1, 4, 6, 6), torch.rand(1, 3, 6, 6)
    shortcut = unit.merge(torch.cat([x, unit.image(image)], dim=1))
    torch.testing.assert_close(unit(x, image), torch.relu(unit.residual(x) + shortcut))
    for norm, rest in ((unit.residual[-1], shortcut), (unit.merge[1], torch.relu(unit.residual(x)))):
        weight = norm.weight.data.clone()
        norm.weight.data.zero_()
        torch.testing.assert_close(unit(x, image), rest)
        norm.weight.data.copy_(weight)


def test_the_pyramid_sees_a_pixel_at_its_distances_and_the_whole_image():
    """One bright pixel is seen from nine places by each dilated branch, from all by the mean, by a 1×1 from its own."""
    pyramid, side, middle = AtrousPyramid(1, 2, 1), 41, 20
    for module in pyramid.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.data.fill_(1.0)
            module.bias.data.zero_()
    x = torch.zeros(1, 1, side, side)
    x[0, 0, middle, middle] = 1
    found = pyramid(x)[0] > 0
    assert found[0].nonzero().tolist() == [[middle, middle]]
    for rate, reached in zip(RATES, found[1:4], strict=True):
        wanted = [[middle + i * rate, middle + j * rate] for i in (-1, 0, 1) for j in (-1, 0, 1)]
        assert reached.nonzero().tolist() == wanted
    assert found[4].all()


def test_dropout_keeps_the_mean_and_leaves_out_what_is_not_kept():
    x = torch.ones(2, 4, 3, 3)
    kept = torch.tensor([[True, False, True, False], [False, True, True, True]])
    found = drop(x, kept)
    assert found[:, :, 0, 0].tolist() == [[2, 0, 2, 0], [0, 2, 2, 2]]
    assert drop(x, None) is x


def test_dropout_is_drawn_by_patch_and_drops_half():
    drawn = draw_kept((5, 6, 5), 20_000)
    np.testing.assert_array_equal(drawn[0], drawn[2])
    assert (drawn[0] != drawn[1]).any()
    assert drawn.mean() == pytest.approx(0.5, abs=0.01)
    assert draw_kept((), 7).shape == (0, 7)


def test_the_loss_of_uncertain_logits_is_the_logarithm_of_two():
    """Equal logits make each of the two cross-entropies ln 2; a pixel of weight 0 adds nothing to the mean."""
    weights = torch.ones(1, 2, 2)
    weights[0, 0, 0] = 0
    equal = torch.zeros(1, 2, 2, 2)
    found = losses_per_image((equal, equal), torch.tensor([[[0, 1], [2, 3]]], dtype=torch.uint8), weights)
    assert found.tolist() == pytest.approx([2 * math.log(2) * 3 / 4])


def test_bits_of_classes_are_objects_and_contours():
    """Logits that are sure of the right class cost nothing, those sure of the wrong one 20 for each wrong pixel."""
    classes = torch.tensor([[[0, 1], [2, 3]]], dtype=torch.uint8)
    objects, contours = (10 * torch.tensor([[[[1, -1], [1, -1]], [[-1, 1], [-1, 1]]]]), torch.zeros(1, 2, 2, 2))
    contours[0] = 10 * torch.tensor([[[1, 1], [-1, -1]], [[-1, -1], [1, 1]]])
    weights = torch.ones(1, 2, 2)
    assert losses_per_image((objects.float(), contours), classes, weights).item() == pytest.approx(0, abs=1e-6)
    assert losses_per_image((-objects.float(), contours), classes, weights).item() == pytest.approx(20, abs=1e-4)


def test_auxiliary_losses_count_a_tenth_after_each_period():
    """What they add is 1, 1/10, 1/100 of the same; dropout and images are those of one batch."""
    network, batch = build(replace(PARTS, aux_steps=10), 0).eval(), batch_of(("gland", "gland"))
    losses = []
    for steps in (0, 9, 10, 25, 1000):
        network.get_buffer("steps").fill_(steps)
        losses.append(network.step_loss(batch, {}).item())
    added = [loss - losses[-1] for loss in losses[:-1]]
    assert added[0] > 0.1
    assert added == pytest.approx([added[0], added[0], added[0] / 10, added[0] / 100], rel=1e-3)


def test_steps_are_counted_in_training_only():
    network, batch = build(PARTS, 0), batch_of(("gland", "gland"))
    network.step_loss(batch, {})
    network.eval().step_loss(batch, {})
    assert int(network.get_buffer("steps")) == 1


def test_structures_weigh_as_asked_and_each_by_the_mean_of_its_patches():
    network = build(replace(PARTS, structures=("gland", "lumen")), 0).eval()
    batch = batch_of(("gland", "gland", "lumen"))
    whole, double = (network.step_loss(batch, weights).item() for weights in ({}, {"lumen": 3.0}))
    lumen = (double - whole) / 2
    only = network.step_loss(replace(batch, structures=("none", "none", "lumen"), counts={"lumen": 1}), {}).item()
    assert lumen == pytest.approx(only, rel=1e-4)


def test_a_rank_without_patches_computes_nothing_and_fails_at_nothing():
    network = build(PARTS, 0)
    empty = replace(batch_of((), 32), counts={"gland": 2})
    loss = network.step_loss(empty, {})
    loss.backward()
    assert loss.item() == 0


def test_a_head_does_not_depend_on_which_others_there_are():
    one, two = build(PARTS, 0), build(replace(PARTS, structures=("lumen", "gland")), 0)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    assert not torch.equal(one.encoder.stem[0].weight, build(PARTS, 1).encoder.stem[0].weight)
    wider = with_heads(one, ("lumen",), 3)
    assert set(wider.heads) == {"gland", "lumen"}
    assert torch.equal(wider.encoder.stem[0].weight, one.encoder.stem[0].weight)


def test_first_weights_are_drawn_as_published():
    """Uniform within √(6 / (fan-in + fan-out)), after Glorot & Bengio 2010; biases are zero."""
    network = build(MildNetParts(structures=("gland",), width=16), 0)
    weight, bias = network.heads["gland"].branches[0][0].weight, network.heads["gland"].branches[0][0].bias
    bound = math.sqrt(6 / ((48 + 16) * 9))
    assert 0.99 * bound < weight.abs().max().item() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    assert not bias.any()


@pytest.mark.parametrize("side", [60, 36])
def test_images_it_cannot_take_are_refused_in_one_line(side):
    with pytest.raises(ValueError, match=rf"side of {side} px; MILD-Net takes multiples of 8"):
        build(PARTS, 0).encode(images(1, side))
