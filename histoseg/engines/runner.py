"""A network on windows of one size: by an engine that is found while it runs, as many at once as memory allows.

An engine takes time to make, and saves some of what follows. How much follows is not known, so another engine is tried
once the network has run for as long as the engine needs to pay for itself: then a small image never waits for one, and
whatever follows, at most twice the time is lost that could have been saved.
"""

import logging
import time
from collections.abc import Callable, Sequence
from threading import Lock

import torch
from torch import Tensor

from histoseg.engines.candidates import Candidate
from histoseg.engines.eager import Forward
from histoseg.engines.memory import Memory, windows_at_once
from histoseg.engines.trial import Tolerance, Trial, compare
from histoseg.errors import ConfigError

logger = logging.getLogger(__name__)

WORTH_IT = 1.03  # Times as fast; less is what measurements differ by.
Step = Callable[[Forward, Tensor], Sequence[Tensor]]  # Runs an engine on windows, and reduces what it gives


class Runner:
    """What runs the network of one model; threads that share it take turns, so that one has all of the memory.

    Attributes:
        at_once: How many windows to give it at once.
        engine: The name of the engine in use.
    """

    def __init__(
        self,
        eager: Forward,
        candidates: Sequence[Candidate],
        tolerance: Tolerance,
        *,
        at_once: int = 1,
        memory: Memory | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.at_once, self.engine, self.most = at_once, "eager", 0
        self._forward, self._candidates, self._tolerance = eager, list(candidates), tolerance
        self._memory, self._clock, self._is_sized = memory, clock, memory is None
        self._begun: float | None = None
        self._turn = Lock()

    def __call__(self, step: Step, images: Tensor) -> list[Tensor]:
        """What a step gives for some windows.

        Raises:
            ConfigError: If not even one window fits into memory, or if the engine that was asked for fails.
        """
        with self._turn:
            self._try_next(images)
            return self._run(step, images)

    def _run(self, step: Step, images: Tensor) -> list[Tensor]:
        try:
            return self._run_at_once(step, images)
        except torch.OutOfMemoryError as error:
            if len(images) == 1:
                text = f"a window of {images.shape[1]} x {images.shape[2]} pixels does not fit into memory"
                raise ConfigError(f"{text}; give a smaller --window-px (SET=windows.window_px=…)") from error
        # Outside of the handler, as the error holds what the step had computed.
        self._halve(len(images))
        parts, done = [], 0
        while done < len(images):  # A part may make `at_once` smaller again.
            part = images[done : done + self.at_once]
            parts.append(self._run(step, part))
            done += len(part)
        return [torch.cat(each) for each in zip(*parts, strict=True)]

    def _run_at_once(self, step: Step, images: Tensor) -> list[Tensor]:
        if self._memory is None or self._is_sized:
            return list(step(self._forward, images))
        found, taken = self._memory.measure(lambda: list(step(self._forward, images)))
        fitting = windows_at_once(taken // len(images), self._memory.free_bytes())
        self.at_once = min(fitting, self.most) if self.most else fitting
        self._is_sized = True
        logger.info("%d windows at once: each takes %.2f GB", self.at_once, taken / len(images) / 1e9)
        return found

    def _halve(self, count: int) -> None:
        if self._memory is not None:
            self._memory.release()
        self.at_once = self.most = max(1, count // 2)
        logger.warning("%d windows at once did not fit into memory; %d from now on", count, self.at_once)

    def _try_next(self, images: Tensor) -> None:
        """Try the next engine if it is time to."""
        now = self._clock()
        self._begun = now if self._begun is None else self._begun
        if self._candidates and now - self._begun >= self._candidates[0].after_s:
            self._try(self._candidates.pop(0), images)

    def _try(self, candidate: Candidate, images: Tensor) -> None:
        begun = self._clock()
        try:
            forward = candidate.make(images)
            trial = compare(self._forward, forward, images)
        except Exception as error:  # Compilers of others raise anything; the network also runs without them.
            self._refuse(candidate, f"{type(error).__name__}: {error}".splitlines()[0], error)
            return
        text = _describe(candidate, trial, self._clock() - begun)
        if not trial.is_equal(self._tolerance):
            self._refuse(candidate, f"its result differs ({text})")
        elif trial.ratio >= WORTH_IT or candidate.is_required:
            self._forward, self.engine, self._is_sized = forward, candidate.name, self._memory is None
            logger.info("engine %s from now on: %s", candidate.name, text)
        else:
            logger.info("engine %s stays: %s", self.engine, text)

    def _refuse(self, candidate: Candidate, why: str, error: Exception | None = None) -> None:
        if candidate.is_required:
            raise ConfigError(
                f"--engine {candidate.name}: {why}; use --engine eager (SET=execution.engine=eager)"
            ) from error
        logger.warning("engine %s is not used: %s", candidate.name, why)


def _describe(candidate: Candidate, trial: Trial, seconds: float) -> str:
    return (
        f"{candidate.name} takes {trial.other_seconds:.2f} s instead of {trial.seconds:.2f} s, "
        f"probabilities differ by up to {trial.difference:.1g}, {trial.agreement:.4%} of classes are equal; "
        f"the trial took {seconds:.0f} s"
    )
