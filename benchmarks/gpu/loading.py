"""What the loader supplies if nothing trains on it."""

import time

import torch
from rows import Figures, Row
from setting import Setting, describe, training_of

from histoseg.loaders.prefetch import STEPS_AHEAD, num_threads
from histoseg.training.loop import step_batches
from histoseg.training.process import Process


def measure_loading(row: Row, setting: Setting) -> Figures:
    """Figures of steps that are only made, pinned where a GPU would take them."""
    training = training_of(row, setting)
    batches = step_batches(training, Process(device=torch.device(setting.device)), 0)
    for _ in range(num_threads() + STEPS_AHEAD):  # Until then all threads begin at once.
        next(batches)
    begin, num_patches, num_steps = time.perf_counter(), 0, 0
    while num_steps < 2 * num_threads() or time.perf_counter() - begin < setting.size.timed_s:
        num_patches += len(next(batches).keys)
        num_steps += 1
    seconds = time.perf_counter() - begin
    return Figures(
        of=f"{describe(training.stage.method)}, {num_threads()} threads",
        images_per_s=num_patches / seconds,
        seconds=seconds / num_steps,
        num_timed=num_steps,
    )
