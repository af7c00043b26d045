"""How much one thing is better than another where both were measured on the same replicates."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The mean of paired differences, and the ends of an interval around it; nan where there are too few."""

    mean: float
    low: float
    high: float
    count: int


def paired_difference(first: Sequence[float], second: Sequence[float], level: float = LEVEL) -> Difference:
    """How much larger the first numbers are than the second, with the interval of Student's t for paired samples.

    The interval holds for independent replicates; those of cross-validation share images, so theirs is too narrow
    (Nadeau & Bengio 2003, Sec. 3).

    Raises:
        ValueError: If the numbers do not belong together in pairs.
    """
    differences = [one - other for one, other in zip(first, second, strict=True)]
    count = len(differences)
    if count < 2:
        return Difference(mean=differences[0] if count else math.nan, low=math.nan, high=math.nan, count=count)
    mean = statistics.fmean(differences)
    reach = float(t.ppf((1 + level) / 2, count - 1)) * statistics.stdev(differences) / math.sqrt(count)
    return Difference(mean=mean, low=mean - reach, high=mean + reach, count=count)
