"""What each round of annotation gained, and when to stop."""

import math
from collections.abc import Sequence

LAST_ROUNDS = 2  # Over which the gain is averaged: one round alone may be luck
LEAST_GAIN = 0.005  # Of a score within 0 and 1; chosen: half a point is less than seeds differ here (docs/lab-notes.md)


def gains(scores: Sequence[float]) -> list[float]:
    """What each round added to the score; nan for the first, and where a score is missing."""
    return [math.nan, *(after - before for before, after in zip(scores, scores[1:], strict=False))][: len(scores)]


def is_over(scores: Sequence[float], last_rounds: int = LAST_ROUNDS, least_gain: float = LEAST_GAIN) -> bool:
    """Whether annotation stops: the mean gain over the last rounds is below the least that is worth the work.

    Cerberus, Sec. 3.4, repeats "until there is no noticeable improvement". Never before there were so many gains.
    """
    if len(scores) <= last_rounds or not all(map(math.isfinite, scores[-last_rounds - 1 :])):
        return False
    return (scores[-1] - scores[-last_rounds - 1]) / last_rounds < least_gain
