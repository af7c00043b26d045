"""The steps of a training gathered into statuses, which its listeners hear."""

import time
from collections.abc import Sequence

from histoseg.training.listeners import Listener, Status

LOG_EVERY_S = 10.0


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
