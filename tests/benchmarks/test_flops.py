"""FLOPs that are counted are those that a step needs."""

import devices
import numpy as np
import pytest
import torch
from devices import count_flops

from histoseg.methods.maml import Maml
from histoseg.models.unet.network import build
from histoseg.types import Episode, MetaBatch, Patches

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def none_counted(monkeypatch):
    monkeypatch.setattr(devices, "_COUNTED", {})


def patches(count):
    rng = np.random.default_rng(0)
    return Patches(
        images=rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8),
        semantic_maps=rng.integers(0, 2, (count, 32, 32), dtype=np.uint8),
        tasks=("a",) * count,
        keys=("",) * count,
    )


def test_a_convolution():
    layer, x = torch.nn.Conv2d(3, 5, 3, padding=1), torch.zeros(2, 3, 8, 8)
    # A product and a sum for each of 3 x 3 x 3 inputs of each of 5 x 8 x 8 outputs of 2 images.
    assert count_flops("layer", lambda: layer(x), CPU) == 2 * 27 * 5 * 64 * 2


@pytest.mark.parametrize(
    ("first_order", "micro_batch", "forwards"),
    [
        # A backward costs two forwards. First order: support and query go forward and backward.
        (True, 0, 3),
        # The backward of the support's forward and backward costs twice as much as they: (3 + 6 + 3) for two images.
        (False, 0, 6),
        # Where the support's graph is made again: (3 + 3 + 6 + 3) for two images.
        (False, 1, 7.5),
    ],
)
def test_a_step_of_maml(first_order, micro_batch, forwards):
    model = build(8, "group", {"a": 2}, 0)
    images = torch.from_numpy(patches(1).images)
    method = Maml(support=2, query=2, episodes=1, first_order=first_order, micro_batch=micro_batch)
    batch = MetaBatch(episodes=(Episode(task="a", support=patches(2), query=patches(2)),), global_size=1)
    forward = count_flops("forward", lambda: model(images, "a"), CPU)
    step = count_flops("step", lambda: method.backward(model, batch), CPU)
    # To within the first layer, whose input needs no gradient.
    assert step / (4 * forward) == pytest.approx(forwards, rel=0.02)


def test_variants_of_a_row_are_counted_once():
    calls = []
    assert [count_flops("same", lambda: calls.append(1), CPU) for _ in range(2)] == [0, 0]
    assert calls == [1]


def test_a_call_too_large_for_the_memory_is_not_counted():
    def fail():
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert count_flops("large", fail, CPU) is None
