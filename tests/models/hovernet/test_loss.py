"""The loss of HoVer-Net, term by term in NumPy, and by ranks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from histoseg.methods.multitask import MultiTask
from histoseg.models.hovernet.loss import loss_of, slopes_of
from histoseg.models.hovernet.network import HoVerNetParts, build
from histoseg.types import IGNORE, MixedBatch

SIDE, EPSILON = 12, 1e-3


def batch_of(size=2, seed=0, side=SIDE, shown=SIDE):
    rng = np.random.default_rng(seed)
    types = rng.integers(0, 3, (size, side, side), dtype=np.uint8)
    return MixedBatch(
        images=rng.integers(0, 256, (size, shown, shown, 3), dtype=np.uint8),
        classes=(types > 0).astype(np.uint8),
        weights=np.ones((size, side, side), np.float32),
        types=types,
        maps=rng.uniform(-1, 1, (size, 2, side, side)).astype(np.float32),
        structures=("nuclei",) * size,
        keys=("k",) * size,
        seeds=tuple(range(size)),
        counts={"nuclei": size},
    )


def predictions(size=2, num_types=3, seed=1):
    draw = torch.Generator().manual_seed(seed)
    shapes = {"np": 2, "hv": 2, "tp": num_types}
    return {name: torch.randn(size, count, SIDE, SIDE, generator=draw) for name, count in shapes.items()}


def softmax(logits):
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def classified(logits, classes, known):
    """Mean cross-entropy, and one minus Dice summed over classes, over the known pixels of all images."""
    p = softmax(logits.numpy().astype(np.float64))
    entropy = -np.log(np.take_along_axis(p, classes[:, None].astype(int) * known[:, None], axis=1)[:, 0])
    dice = 0.0
    for kind in range(p.shape[1]):
        true, predicted = ((classes == kind) * known).astype(float), p[:, kind] * known
        dice += 1 - (2 * (true * predicted).sum() + EPSILON) / (true.sum() + predicted.sum() + EPSILON)
    return entropy[known].mean() + dice


def slopes(maps):
    """x / (x² + y²) over 5 x 5 pixels, zeros around; horizontally of the first map, vertically of the second."""
    padded = np.pad(maps, ((0, 0), (0, 0), (2, 2), (2, 2)))
    found = np.zeros_like(maps)
    for y in range(-2, 3):
        for x in range(-2, 3):
            part = padded[:, :, 2 + y : 2 + y + SIDE, 2 + x : 2 + x + SIDE]
            if x or y:
                found[:, 0] += part[:, 0] * x / (x * x + y * y)
                found[:, 1] += part[:, 1] * y / (x * x + y * y)
    return found


@pytest.mark.parametrize("has_unknown", [False, True])
def test_the_loss_is_the_sum_of_its_six_terms(has_unknown):
    drawn, found = batch_of(), predictions()
    if has_unknown:
        drawn.weights[0, :4] = 0
        drawn.types[0, :6] = IGNORE
    known = drawn.weights > 0
    error = found["hv"].numpy().astype(np.float64) - drawn.maps
    nuclear = (drawn.classes == 1) & known
    squared = (error**2).sum(axis=1)[known].sum() / (2 * known.sum())
    steep = (slopes(error) ** 2).sum(axis=1)[nuclear].sum() / (2 * nuclear.sum())
    wanted = classified(found["np"], drawn.classes, known) + 2 * squared + steep
    wanted += classified(found["tp"], drawn.types, drawn.types != IGNORE)
    assert float(loss_of(found, drawn, 2.0)) == pytest.approx(wanted, rel=1e-5)
    without_types = {name: found[name] for name in ("np", "hv")}
    wanted -= classified(found["tp"], drawn.types, drawn.types != IGNORE)
    assert float(loss_of(without_types, drawn, 2.0)) == pytest.approx(wanted, rel=1e-5)


def test_a_perfect_prediction_costs_nothing():
    drawn = batch_of()
    sure = {
        "np": 40 * torch.nn.functional.one_hot(torch.from_numpy(drawn.classes).long(), 2).permute(0, 3, 1, 2).float(),
        "tp": 40 * torch.nn.functional.one_hot(torch.from_numpy(drawn.types).long(), 3).permute(0, 3, 1, 2).float(),
        "hv": torch.from_numpy(drawn.maps),
    }
    assert float(loss_of(sure, drawn, 2.0)) == pytest.approx(0, abs=1e-5)


def test_slopes_go_with_their_map():
    """Of ramps of 1 a pixel, the sum of x² / (x² + y²) over 5 x 5 pixels: half of the 24 around the middle."""
    ramp = torch.arange(20.0).repeat(20, 1)
    found = slopes_of(torch.stack([ramp, ramp.T])[None])[0, :, 8:12, 8:12]
    torch.testing.assert_close(found, torch.full_like(found, 12.0))
    other = slopes_of(torch.stack([ramp.T, ramp])[None])[0, :, 8:12, 8:12]
    torch.testing.assert_close(other, torch.zeros_like(other), atol=1e-4, rtol=0)


def test_every_weight_is_trained_or_only_the_decoders():
    network = build(HoVerNetParts(width=8, num_types=3), 0).train()
    drawn = batch_of(side=4, shown=96)
    loss = MultiTask(batch=2).backward(network, drawn)
    assert np.isfinite(loss)
    assert all(parameter.grad is not None for parameter in network.parameters())
    network.zero_grad(set_to_none=True)
    network.encoder.requires_grad_(False)
    MultiTask(batch=2, trains="decoders").backward(network, drawn)
    trained = {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert trained == {"bottom", "decoders"}


def test_weights_of_structures_scale_the_loss():
    network = build(HoVerNetParts(width=8, num_types=3), 0).eval()
    drawn = batch_of(side=4, shown=96)
    whole = MultiTask(batch=2).backward(network, drawn)
    assert MultiTask(batch=2, loss_weights=(("nuclei", 0.5),)).backward(network, drawn) == pytest.approx(whole / 2)


def test_gradients_are_those_of_finite_differences():
    network = build(HoVerNetParts(width=8, num_types=3), 0).double().eval()
    drawn = batch_of(side=4, shown=96)
    MultiTask(batch=2).backward(network, drawn)
    weight, step = network.decoders["hv"].head.weight, 1e-6
    with torch.no_grad():
        losses = []
        for sign in (1, -1):
            weight[0, 3] += sign * step
            losses.append(float(network.step_loss(drawn, {})))
            weight[0, 3] -= sign * step
    slope = (losses[0] - losses[1]) / (2 * step)
    assert float(weight.grad[0, 3, 0, 0]) == pytest.approx(slope, rel=1e-3)


def test_a_batch_of_another_shape_is_refused():
    with pytest.raises(TypeError):
        replace(batch_of(), maps=np.zeros((2, 2, 4), np.float32))
