"""The gauges of a job for Prometheus. Ray exports each with `ray_` before its name.

Ray forgets a gauge two reports, 20 s, after it was last set (`ray._private.telemetry.open_telemetry_metric_recorder`).
So that a slow step, a long evaluation or a training that hangs can be seen, every value is set again and again.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from threading import Event, Thread
from typing import Protocol

from histoseg.training.listeners import Status

AGAIN_EVERY_S = 5.0  # Ray reports every 10 s, metrics_report_interval_ms.

CELLS = {
    "histoseg_cells": "Cells of the experiment.",
    "histoseg_cells_recorded": "Cells of the experiment that have a record.",
}
FAILED = {"histoseg_groups_failed": "Groups of cells that this job has given up."}
SLIDES = {
    "histoseg_slides": "Slides of the cohort.",
    "histoseg_slides_done": "Slides of the cohort that are done.",
    "histoseg_slides_failed": "Slides that this job has given up.",
    "histoseg_slides_mm2": "Area that this job has segmented, in square millimetres.",
    "histoseg_slides_objects": "Objects that this job has found.",
    "histoseg_slides_waiting": "Batches of regions that wait for a process with the model.",
    "histoseg_slides_processes": "Processes that have the model.",
}
DRIVEN = {"histoseg_training_start_time_seconds": "When a training was begun that has not ended."}
WORKING = {"histoseg_workers_start_time_seconds": "When the workers that a training has now began."}
STATUS = {
    "histoseg_step": "Steps done.",
    "histoseg_steps": "Steps to do in all.",
    "histoseg_loss": "Mean loss since the last status.",
    "histoseg_images_per_second": "Images trained on, all ranks together.",
    "histoseg_loader_wait_fraction": "Share of the time spent waiting for images.",
}


class SetGauges(Protocol):
    """Sets gauges to values in their order, with labels by name; values under other labels are forgotten."""

    def __call__(self, *values: float, **labels: str) -> None: ...


@contextmanager
def gauges(texts: Mapping[str, str], keys: Sequence[str] = ()) -> Iterator[SetGauges]:
    """Gauges that keep their values while this lasts; yields what sets all of them.

    `texts` says what each gauge means, by its name; `keys` are the names of their labels.
    """
    from ray.util.metrics import Gauge

    made = [Gauge(name, text, tuple(keys)) for name, text in texts.items()]
    latest: tuple[tuple[float, ...], dict[str, str]] = ((), {})

    def export() -> None:
        values, labels = latest
        for gauge, value in zip(made, values, strict=False):  # There are no values until the first are set.
            gauge.set(value, labels)

    def set_all(*values: float, **labels: str) -> None:
        nonlocal latest
        latest = values, labels
        export()

    with repeated(export, AGAIN_EVERY_S):
        yield set_all


@contextmanager
def repeated(action: Callable[[], None], every_s: float) -> Iterator[None]:
    """Have a thread do something again and again while this lasts, for the first time after `every_s`."""
    over = Event()

    def run() -> None:
        while not over.wait(every_s):
            action()

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def training_begun(run: str) -> Iterator[None]:
    """Show a training as begun while this lasts, also if it has no workers yet."""
    with gauges(DRIVEN, ("run",)) as show:
        show(time.time(), run=run)
        yield


class TrainingGauges:
    """A listener that shows a training as having workers, and its newest status, until it is closed."""

    def __init__(self, run: str, method: str) -> None:
        self._labels = {"run": run, "method": method}
        self._open = ExitStack()
        begun = self._open.enter_context(gauges(WORKING, ("run", "method")))
        begun(time.time(), **self._labels)
        self._show = self._open.enter_context(gauges(STATUS, ("run", "method", "label")))

    def on_status(self, status: Status) -> None:
        values = (status.step, status.steps, status.loss, status.images_per_s, status.loader_wait)
        self._show(*values, label=status.label, **self._labels)

    def close(self) -> None:
        self._open.close()
