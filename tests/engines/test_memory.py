"""How many windows a GPU gets at once: found from one of them, and halved when that was too many."""

import numpy as np
import pytest
import torch

from histoseg.engines.eager import run_eagerly
from histoseg.engines.heap import keep_freed_memory
from histoseg.engines.memory import MOST, windows_at_once
from histoseg.engines.runner import Runner
from histoseg.engines.trial import TOLERANCES
from histoseg.errors import ConfigError

GB = 10**9


class FakeMemory:
    """A GPU with so much memory, of which each window takes as much as the other."""

    def __init__(self, free_bytes, window_bytes):
        self.free, self.window_bytes = free_bytes, window_bytes
        self.num_measured = self.num_released = 0

    def free_bytes(self):
        return self.free

    def measure(self, call):
        self.num_measured += 1
        found = call()
        return found, len(found[0]) * self.window_bytes

    def release(self):
        self.num_released += 1


class Mean(torch.nn.Module):
    """Takes as many windows at once as it is told to."""

    def __init__(self, most):
        super().__init__()
        self.most, self.counts = most, []

    def forward(self, images):
        self.counts.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return (images.float().mean(dim=(1, 2, 3)),)


def draw(count):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8))


def step(forward, images):
    return list(forward(images))


def runner_of(mean, memory):
    return Runner(run_eagerly(mean, "fp32"), [], TOLERANCES["fp32"], memory=memory)


@pytest.mark.parametrize(
    ("window_bytes", "free_bytes", "expected"),
    [
        (GB, 20 * GB, 14),  # 0.7 of what is free
        (GB, GB, 1),  # At least one is tried.
        (GB, 0, 1),
        (1, 80 * GB, MOST),
        (0, GB, MOST),
    ],
)
def test_how_many_fit(window_bytes, free_bytes, expected):
    assert windows_at_once(window_bytes, free_bytes) == expected


def test_one_window_is_measured_and_then_as_many_are_taken_as_fit():
    memory, mean = FakeMemory(10 * GB, GB), Mean(most=99)
    runner = runner_of(mean, memory)
    assert runner.at_once == 1
    runner(step, draw(1))
    assert runner.at_once == 7
    runner(step, draw(7))
    assert memory.num_measured == 1


def test_too_many_are_halved_until_they_fit_and_nothing_is_lost():
    mean, memory = Mean(most=2), FakeMemory(80 * GB, GB)
    runner = runner_of(mean, memory)
    runner(step, draw(1))
    assert runner.at_once == MOST
    images = draw(9)
    (found,) = runner(step, images)
    torch.testing.assert_close(found, images.float().mean(dim=(1, 2, 3)))  # In their order
    assert runner.at_once == 2
    assert mean.counts == [1, 9, 4, 2, 2, 2, 2, 1]
    assert memory.num_released >= 1


def test_memory_that_is_short_in_the_reduction_is_the_same():
    calls = []

    def reduce(forward, images):
        calls.append(len(images))
        if len(images) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return list(forward(images))

    images = draw(3)
    (found,) = runner_of(Mean(most=9), FakeMemory(80 * GB, GB))(reduce, images)
    torch.testing.assert_close(found, images.float().mean(dim=(1, 2, 3)))
    assert calls == [3, 1, 1, 1]


def test_a_window_that_does_not_fit_alone_is_an_error_that_says_what_to_do():
    with pytest.raises(ConfigError, match=r"a window of 4 x 4 pixels .* --window-px"):
        runner_of(Mean(most=0), FakeMemory(GB, GB))(step, draw(2))


def test_freed_memory_can_be_kept_wherever_this_runs():
    assert keep_freed_memory() in (True, False)
    assert torch.zeros(20_000_000).add(1).sum() == 20_000_000
