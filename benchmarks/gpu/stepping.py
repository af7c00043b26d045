"""Steps of a training, taken and timed as the training loop takes them."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from devices import count_flops, forget_peak, peak_gib, share_of_peak, wait_for
from rows import Figures, Row
from setting import Setting, describe, network_of, size_of, training_of

from histoseg.distributed import sum_over_ranks, world_size
from histoseg.loaders.mixed import TISSUE_SHARE
from histoseg.runs.config import Settings
from histoseg.structures import TISSUE
from histoseg.training.loop import new_optimizer, step_batches, take_step, use_device
from histoseg.training.method import method_of
from histoseg.training.process import Process
from histoseg.types import MixedBatch, StepBatch

PATCHES = "patches"
UNCOUNTED, LEAST = 2, 2  # Steps of each kind: the first choose algorithms, make Adam's moments and compile.
Step = Callable[[StepBatch], float]


@dataclass(kw_only=True)
class Timed:
    """Steps by their kind, and one batch of each kind."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    batches: dict[str, StepBatch] = field(default_factory=dict)
    waited_s: float = 0.0

    @property
    def num_steps(self) -> int:
        """How many steps there were."""
        return sum(map(len, self.seconds.values()))

    @property
    def total_s(self) -> float:
        """How long they took."""
        return sum(map(sum, self.seconds.values()))


def measure_steps(row: Row, setting: Setting, method: Settings, *, process: Process) -> Figures:
    """Figures of a training's steps; with several ranks, each calls this, and their figures are of all together."""
    training = training_of(row, setting, method)
    model = network_of(training)
    use_device(model, training.stage, process)
    optimizer, learner = new_optimizer(model, training.stage.optim), method_of(training.stage)
    if training.stage.optim.compile:
        model.compile_parts()
    model.train()

    def step(batch: StepBatch) -> float:
        return take_step(model, optimizer, learner, batch, row.name)

    shares = shares_of(row)
    timed = time_steps(step, step_batches(training, process, 0), shares, process.device, setting.size.timed_s)
    memory = peak_gib(process.device)
    model.interpret_parts()
    seconds = mean_over_kinds({kind: sum(each) / len(each) for kind, each in timed.seconds.items()}, shares)
    tera = tera_flops(f"{row.workload} {describe(method)}", step, timed, shares, process.device)
    return Figures(
        of=describe(method),
        images_per_s=size_of(method) / seconds,
        seconds=seconds,
        num_timed=timed.num_steps,
        tera=tera,
        share=share_of_peak(tera, row.precision, process.device),
        peak_gib=memory,
        waiting=timed.waited_s / timed.total_s,
    )


def shares_of(row: Row) -> dict[str, float]:
    """The kinds of steps that a training has, and how often each comes: steps of tissue are much smaller."""
    return {PATCHES: 1 - TISSUE_SHARE, TISSUE: TISSUE_SHARE} if row.workload == "Cerberus" else {PATCHES: 1.0}


def kind_of(batch: StepBatch) -> str:
    """Which kind of step a batch is for, on every rank the same."""
    return TISSUE if isinstance(batch, MixedBatch) and TISSUE in batch.counts else PATCHES


def time_steps(
    step: Step, batches: Iterator[StepBatch], shares: Mapping[str, float], device: torch.device, timed_s: float
) -> Timed:
    """Steps for so many seconds, at least `LEAST` of each kind, after `UNCOUNTED` of each."""
    first = _take(step, batches, shares, UNCOUNTED, 0)
    wait_for(device)
    one = mean_over_kinds({kind: each[-1] for kind, each in first.seconds.items()}, shares)
    num_steps = math.ceil(timed_s / _mean_over_ranks(one, device))
    forget_peak(device)
    timed = _take(step, batches, shares, LEAST, num_steps)
    begin = time.perf_counter()
    wait_for(device)
    timed.seconds[next(iter(timed.seconds))][-1] += time.perf_counter() - begin
    return timed


def _take(step: Step, batches: Iterator[StepBatch], shares: Mapping[str, float], each: int, least: int) -> Timed:
    """At least so many steps, and so many of each kind. Each ends as its loss is known, when the next may begin."""
    timed = Timed(seconds={kind: [] for kind in shares})
    while timed.num_steps < least or min(map(len, timed.seconds.values())) < each:
        begin = time.perf_counter()
        batch = next(batches)
        timed.waited_s += time.perf_counter() - begin
        step(batch)
        timed.seconds[kind_of(batch)].append(time.perf_counter() - begin)
        timed.batches[kind_of(batch)] = batch
    return timed


def _mean_over_ranks(seconds: float, device: torch.device) -> float:
    """The same number on all ranks, which must take as many steps."""
    return float(sum_over_ranks(torch.tensor(seconds, dtype=torch.float64, device=device))) / world_size()


def mean_over_kinds(values: Mapping[str, float], shares: Mapping[str, float]) -> float:
    """The mean of a step: chance has drawn each kind more or less often than a whole training does."""
    return sum(share * values[kind] for kind, share in shares.items())


def tera_flops(name: str, step: Step, timed: Timed, shares: Mapping[str, float], device: torch.device) -> float | None:
    """TFLOP/s of the steps that were timed; None if their FLOPs cannot be counted."""
    counted: dict[str, float] = {}
    for kind in sorted(shares):  # All ranks count the same one at a time.
        flops = count_flops(f"{name} {kind}", partial(step, timed.batches[kind]), device)
        if flops is None:
            return None
        counted[kind] = flops
    means = {kind: sum(each) / len(each) for kind, each in timed.seconds.items()}
    return mean_over_kinds(counted, shares) / mean_over_kinds(means, shares) / 1e12
