"""What a training says of itself: a line per interval, the same numbers as metrics.jsonl and to a callback."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from histoseg.store.objects import Store

logger = logging.getLogger(__name__)

LOG_EVERY_S = 10.0
METRICS = "metrics.jsonl"


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where a training stands.

    Attributes:
        label: Who speaks, for people.
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


class Progress:
    """Gathers steps into statuses, and keeps them as the lines of metrics.jsonl."""

    def __init__(self, label: str, steps: int, on_status: Callable[[Status], None]) -> None:
        self.label = label
        self.steps = steps
        self.lines: list[str] = []
        self._on_status = on_status
        self._begin = time.monotonic()
        self._losses: list[float] = []
        self._images = 0
        self._waited_s = 0.0

    def step(self, step: int, loss: float, num_images: int, waited_s: float) -> None:
        """Count a step; speak if it is time to, or if it was the last."""
        self._losses.append(loss)
        self._images += num_images
        self._waited_s += waited_s
        elapsed = time.monotonic() - self._begin
        if elapsed >= LOG_EVERY_S or step == self.steps:
            self._speak(step, max(elapsed, 1e-9))

    def _speak(self, step: int, elapsed: float) -> None:
        status = Status(
            label=self.label,
            step=step,
            steps=self.steps,
            loss=sum(self._losses) / len(self._losses),
            images_per_s=self._images / elapsed,
            loader_wait=self._waited_s / elapsed,
            eta_s=(self.steps - step) * elapsed / len(self._losses),
        )
        logger.info("%s", status.line())
        self.lines.append(json.dumps({**asdict(status), "time": time.time()}))
        self._on_status(status)
        self._begin, self._losses, self._images, self._waited_s = time.monotonic(), [], 0, 0.0

    def put(self, store: Store, folder: str) -> None:
        """Write all lines so far as `metrics.jsonl` below a folder."""
        store.put(f"{folder}/{METRICS}", "".join(f"{line}\n" for line in self.lines).encode())

    def resume(self, store: Store, folder: str, step: int) -> None:
        """Take over the lines that an earlier attempt wrote up to a step."""
        if step and store.size(f"{folder}/{METRICS}") is not None:
            lines = store.get(f"{folder}/{METRICS}").decode().splitlines()
            self.lines = [line for line in lines if json.loads(line)["step"] <= step]
