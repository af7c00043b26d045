"""What hears how far a training is: the log line, metrics.jsonl, and any other `Listener`."""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol, runtime_checkable

from histoseg.store.objects import Store

logger = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
LOG_EVERY_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Status:
    """How far a training is.

    Attributes:
        label: What is trained, for people.
        step, steps: Steps done and to do.
        loss: Mean loss since the last status.
        images_per_s: Images trained on, all ranks together, since the last status.
        loader_wait: Share of that time spent waiting for images.
        eta_s: Seconds until all steps are done, at this pace.
    """

    label: str
    step: int
    steps: int
    loss: float
    images_per_s: float
    loader_wait: float
    eta_s: float

    def line(self) -> str:
        """The status as one line."""
        return (
            f"{self.label}  step {self.step}/{self.steps}  loss {self.loss:.4f}  {self.images_per_s:.1f} images/s  "
            f"loader wait {self.loader_wait:.0%}  eta {self.eta_s:.0f} s"
        )


@runtime_checkable
class Listener(Protocol):
    """Hears every status of one process's trainings, in its order, on rank 0 only."""

    def on_status(self, status: Status) -> None:
        """Take a status; called every ten seconds, and at a training's last step."""

    def close(self) -> None:
        """Finish: there are no more statuses. Most have nothing left to do."""
        return


class LogLine(Listener):
    """Logs each status as one line."""

    def on_status(self, status: Status) -> None:
        logger.info("%s", status.line())


class MetricsFile(Listener):
    """Keeps the statuses of one training as the lines of `metrics.jsonl` below its folder in the store.

    The training puts them beside each checkpoint, so that a step that is taken again after a restart has one line.
    """

    def __init__(self, store: Store, folder: str, first_step: int) -> None:
        """Take over the lines that an earlier attempt wrote up to the step at which this one begins."""
        self._store, self._key = store, f"{folder}/{METRICS}"
        self._lines: list[str] = []
        if first_step and store.size(self._key) is not None:
            lines = store.get(self._key).decode().splitlines()
            self._lines = [line for line in lines if json.loads(line)["step"] <= first_step]

    def on_status(self, status: Status) -> None:
        """Keep a status for the next `put`."""
        self._lines.append(json.dumps({**asdict(status), "time": time.time()}))

    def put(self) -> None:
        """Write all lines so far into the store."""
        self._store.put(self._key, "".join(f"{line}\n" for line in self._lines).encode())


class Progress:
    """Counts steps, and tells listeners every ten seconds and at the last step."""

    def __init__(self, label: str, steps: int, listeners: Sequence[Listener]) -> None:
        self.label = label
        self.steps = steps
        self._listeners = listeners
        self._begin = time.monotonic()
        self._losses: list[float] = []
        self._images = 0
        self._waited_s = 0.0

    def step(self, step: int, loss: float, num_images: int, waited_s: float) -> None:
        """Count a step, for which the loader was waited for so long."""
        self._losses.append(loss)
        self._images += num_images
        self._waited_s += waited_s
        elapsed = time.monotonic() - self._begin
        if elapsed >= LOG_EVERY_S or step == self.steps:
            self._report(step, max(elapsed, 1e-9))

    def _report(self, step: int, elapsed: float) -> None:
        status = Status(
            label=self.label,
            step=step,
            steps=self.steps,
            loss=sum(self._losses) / len(self._losses),
            images_per_s=self._images / elapsed,
            loader_wait=self._waited_s / elapsed,
            eta_s=(self.steps - step) * elapsed / len(self._losses),
        )
        for listener in self._listeners:
            listener.on_status(status)
        self._begin, self._losses, self._images, self._waited_s = time.monotonic(), [], 0, 0.0
