"""What Prometheus is shown of a job. Ray exports each gauge with `ray_` before its name.

Ray forgets a gauge two reports, 20 s, after it was last set (`ray._private.telemetry.open_telemetry_metric_recorder`).
So that a slow step, a long evaluation or a training that hangs can be seen, what is still true is said again.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from histoseg.training.progress import Status

AGAIN_EVERY_S = 5.0  # Ray reports every 10 s, metrics_report_interval_ms.

CELLS = {
    "histoseg_cells": "Cells of the experiment.",
    "histoseg_cells_recorded": "Cells of the experiment that have a record.",
}
FAILED = {"histoseg_groups_failed": "Groups of cells that this job has given up."}
DRIVEN = {"histoseg_training_start_time_seconds": "When a training was begun that has not ended."}
WORKING = {"histoseg_workers_start_time_seconds": "When the workers that a training has now began."}
STATUS = {
    "histoseg_step": "Steps done.",
    "histoseg_steps": "Steps to do in all.",
    "histoseg_loss": "Mean loss since the last status.",
    "histoseg_images_per_second": "Images trained on, all ranks together.",
    "histoseg_loader_wait_fraction": "Share of the time spent waiting for images.",
}

Show = Callable[..., None]


@contextmanager
def shown(texts: Mapping[str, str], keys: Sequence[str] = ()) -> Iterator[Show]:
    """While this lasts, gauges stay at what they were last set to.

    Args:
        texts: What each gauge means, by its name.
        keys: Its labels.

    Yields:
        Sets all of them: called with their values in the order of `texts`, and the labels by name. What was shown
        under other labels is forgotten.
    """
    from ray.util.metrics import Gauge

    gauges = [Gauge(name, text, tuple(keys)) for name, text in texts.items()]
    latest: tuple[tuple[float, ...], dict[str, str]] = ((), {})
    over = Event()

    def say() -> None:
        values, labels = latest
        for gauge, value in zip(gauges, values, strict=False):  # Without values, until there are any
            gauge.set(value, labels)

    def show(*values: float, **labels: str) -> None:
        nonlocal latest
        latest = values, labels
        say()

    def go_on() -> None:
        while not over.wait(AGAIN_EVERY_S):
            say()

    thread = Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield show
    finally:
        over.set()
        thread.join()


@contextmanager
def driven(run: str) -> Iterator[None]:
    """While this lasts, a training is shown as begun, whether it has workers yet or not."""
    with shown(DRIVEN, ("run",)) as show:
        show(time.time(), run=run)
        yield


@contextmanager
def trained(run: str, method: str) -> "Iterator[Callable[[Status], None]]":
    """While this lasts, a training is shown as having workers; yields a listener that shows how far they are."""
    with shown(WORKING, ("run", "method")) as begun, shown(STATUS, ("run", "method", "label")) as show:
        begun(time.time(), run=run, method=method)
        yield lambda at: show(
            at.step, at.steps, at.loss, at.images_per_s, at.loader_wait, run=run, method=method, label=at.label
        )
