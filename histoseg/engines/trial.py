"""Two engines on the same windows: which is faster, and whether they give the same."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from histoseg.engines.eager import Forward
from histoseg.runs.config import Precision

ROUNDS = 2  # Of which the faster counts: what else a machine does makes a round slower, never faster.


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """What still counts as the same result.

    Attributes:
        difference: The most that a probability may differ.
        agreement: The least share of pixels whose most probable class is the same.
    """

    difference: float
    agreement: float


# Numbers of float32 are rounded by 2^-24, and probabilities of a deep network by some 1e-5. Those of bfloat16 are by
# 2^-9; of a network with random weights, which decides on nothing, 96 % of the classes are then left.
TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(difference=1e-3, agreement=0.9999),
    "bf16": Tolerance(difference=1.0, agreement=0.95),
}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came out of a comparison."""

    seconds: float  # Of the engine in use
    other_seconds: float
    difference: float  # Of probabilities, the largest
    agreement: float  # The share of pixels and squares with the same most probable class

    def is_equal(self, tolerance: Tolerance) -> bool:
        """Whether both give the same."""
        return self.difference <= tolerance.difference and self.agreement >= tolerance.agreement

    @property
    def ratio(self) -> float:
        """How many times as fast the other engine is."""
        return self.seconds / self.other_seconds


def compare(current: Forward, other: Forward, images: Tensor, clock: Callable[[], float] = time.perf_counter) -> Trial:
    """Run both in turn. The first round is not timed, as in it engines prepare themselves."""
    expected, found = current(images), other(images)
    difference, agreement = differ(expected, found)
    times = [(_time(current, images, clock), _time(other, images, clock)) for _ in range(ROUNDS)]
    seconds, other_seconds = (min(each) for each in zip(*times, strict=True))
    return Trial(seconds=seconds, other_seconds=other_seconds, difference=difference, agreement=agreement)


def differ(expected: Sequence[Tensor], found: Sequence[Tensor]) -> tuple[float, float]:
    """The largest difference of probabilities of all heads, and the share of equal most probable classes."""
    if [value.shape for value in expected] != [value.shape for value in found]:
        return float("inf"), 0.0
    differences, equal, count = [0.0], 0, 0
    for one, other in zip(expected, found, strict=True):
        distance = (one.softmax(1) - other.to(one.device).softmax(1)).abs().max()
        differences.append(float("inf") if distance.isnan() else float(distance))
        same = one.argmax(1) == other.to(one.device).argmax(1)
        equal, count = equal + int(same.sum()), count + same.numel()
    return max(differences), equal / max(1, count)


def _time(forward: Forward, images: Tensor, clock: Callable[[], float]) -> float:
    begun = clock()
    forward(images)
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    return clock() - begun
