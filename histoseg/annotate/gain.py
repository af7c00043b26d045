"""What each round of annotation gained, and when to stop."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When annotation stops: where the mean gain over the last rounds is below the least that is worth the work.

    Cerberus, Sec. 3.4, repeats "until there is no noticeable improvement".

    Attributes:
        last_rounds: Over how many rounds the gain is averaged: one alone may be luck.
        least_gain: Of a score within 0 and 1. Chosen: half a point is less than seeds differ here (docs/lab-notes.md).
    """

    last_rounds: int = 2
    least_gain: float = 0.005

    def mean_gain(self, scores: Sequence[float]) -> float:
        """The mean gain over the last rounds; nan before there were so many, or where a score is missing."""
        if len(scores) <= self.last_rounds:
            return math.nan
        return (scores[-1] - scores[-self.last_rounds - 1]) / self.last_rounds

    def is_over(self, scores: Sequence[float]) -> bool:
        """Whether annotation stops."""
        return self.mean_gain(scores) < self.least_gain


def gains(scores: Sequence[float]) -> list[float]:
    """What each score has more than the one before; nan for the first, and where one is missing."""
    return [after - before for before, after in zip([math.nan, *scores], scores, strict=False)]
