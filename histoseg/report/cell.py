"""A cell of a table: one record for each replicate (a seed, a division of the folds), their mean and their spread."""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from scipy import stats

from histoseg.records.schema import Record

CellKey = tuple[str, str]  # Row and column
Published = tuple[float, float | None]  # Mean and standard deviation; None if the latter was not published


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An interval that records hold: the names of the scores at its ends, and what it is."""

    low: str
    high: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """All replicates of one row and column.

    Attributes:
        records: What is finished, by replicate.
        planned: The replicates that belong to the cell when all is finished.
        reason: Why the cell has no mean; empty if it has one.
    """

    row: str
    column: str
    score: str
    records: Mapping[str, Record] = field(default_factory=dict)
    planned: tuple[str, ...] = ()
    paper: Published | None = None
    interval: Interval | None = None
    reason: str = ""

    @property
    def values(self) -> tuple[float, ...]:
        """The score of each replicate that has one."""
        return self._defined(self.score)

    @property
    def mean(self) -> float:
        """Over replicates; nan if there is none."""
        return self.mean_of(self.score)

    @property
    def sd(self) -> float | None:
        """Sample standard deviation over replicates (n - 1), or None below two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the interval, each averaged over replicates; nan without one."""
        if self.interval is None:
            return math.nan, math.nan
        return self.mean_of(self.interval.low), self.mean_of(self.interval.high)

    def band(self, confidence: float) -> tuple[float, float]:
        """The interval in which the mean lies, by Student's t over replicates; nan below two."""
        if self.sd is None:
            return math.nan, math.nan
        reach = float(stats.t.ppf((1 + confidence) / 2, len(self.values) - 1)) * self.sd / len(self.values) ** 0.5
        return self.mean - reach, self.mean + reach

    @property
    def is_finished(self) -> bool:
        """Whether every replicate that belongs to the cell has a record."""
        return bool(self.records) and all(replicate in self.records for replicate in self.planned)

    def mean_of(self, score: str) -> float:
        """Any score of the records, averaged over replicates; nan if none has it."""
        return average(self._defined(score))

    def _defined(self, score: str) -> tuple[float, ...]:
        values = (record.score(score) for record in self.records.values())
        return tuple(value for value in values if not math.isnan(value))


def average(values: Iterable[float]) -> float:
    """Their mean; nan without any."""
    found = list(values)
    return statistics.fmean(found) if found else math.nan
