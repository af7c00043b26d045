"""What measures before a training foretold, and what they say of a task that nothing was trained on yet."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from histoseg.experiments._grid import NONE, set_of
from histoseg.metrics.affinity import Group, mean_spearman, spearman_interval
from histoseg.records.schema import Record
from histoseg.report.cell import CellKey, average
from histoseg.report.table import Table
from histoseg.seeds import stream

RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A number of `Record.measures`; `rising` if more of it should help more."""

    title: str
    rising: bool
    meaning: str


MEASURES = {
    "gradient_alignment": Measure(
        title="Gradient alignment",
        rising=True,
        meaning="cosine of the loss's gradients of the new task and of its predecessors, by the weights that they "
        "share (Du et al. 2018).",
    ),
    "feature_distance": Measure(
        title="Feature distance",
        rising=False,
        meaning="Fréchet distance of pooled features of the encoder, per feature (Heusel et al. 2017); less is nearer.",
    ),
    "logme": Measure(
        title="LogME",
        rising=True,
        meaning="evidence that the new task's labels are linear in the features of pixels (You et al. 2021).",
    ),
}
GAIN = "gain of mIoU over refining without predecessors"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Means over replicates by new task and predecessors.

    Attributes:
        gains: mIoU after these predecessors less that without any.
        measures: The measures, by their name.
    """

    gains: Mapping[CellKey, float]
    measures: Mapping[str, Mapping[CellKey, float]]

    def group(self, measure: str, task: str) -> Group:
        """A measure, falling ones negated, and the gain of all predecessors of a task that have both."""
        numbers = self.measures[measure]
        keys = [key for key in self.gains if key[0] == task and not math.isnan(numbers.get(key, math.nan))]
        sign = 1 if MEASURES[measure].rising else -1
        return np.array([sign * numbers[key] for key in keys]), np.array([self.gains[key] for key in keys])

    def without(self, task: str) -> "Evidence":
        """The same as if a task had never been refined on."""
        return Evidence(gains={key: gain for key, gain in self.gains.items() if key[0] != task}, measures=self.measures)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks with gains."""
        return tuple(dict.fromkeys(task for task, _ in self.gains))


def evidence_of(table: Table) -> Evidence:
    """What the finished runs of a table show."""
    gains: dict[CellKey, float] = {}
    for (row, column), cell in table.cells.items():
        before, _, method = column.partition(".")
        scratch = table.cells.get((row, f"{NONE}.{method}"))
        if before == NONE or scratch is None:
            continue
        both = [(record, scratch.records[name]) for name, record in cell.records.items() if name in scratch.records]
        differences = [ours.scores[cell.score] - other.scores[cell.score] for ours, other in both]
        if differences and not math.isnan(average(differences)):
            gains[row, before] = average(differences)
    return Evidence(gains=gains, measures=measures_of(table.measured))


def measures_of(records: Iterable[Record]) -> dict[str, dict[CellKey, float]]:
    """Each measure by new task and predecessors; undefined values are left out."""
    found: dict[str, dict[CellKey, list[float]]] = {name: {} for name in MEASURES}
    for record in records:
        key = record.row, set_of(record.part)
        for name in MEASURES:
            if not math.isnan(value := record.measures.get(name, math.nan)):
                found[name].setdefault(key, []).append(value)
    return {name: {key: average(values) for key, values in numbers.items()} for name, numbers in found.items()}


@dataclass(frozen=True, kw_only=True)
class Track:
    """How well a measure foretold gains.

    Attributes:
        correlation: Mean over tasks of its rank correlation with the gain, and the ends of a 95 % bootstrap interval.
        num_tasks, num_cells: What that is the mean of.
        chosen, best, typical: Mean over tasks of the gain of its first choice, of the best and of all predecessors.
    """

    measure: str
    correlation: float
    low: float
    high: float
    num_tasks: int
    num_cells: int
    chosen: float
    best: float
    typical: float


def tracks(evidence: Evidence, resamples: int = RESAMPLES) -> list[Track]:
    """The measures that have a correlation with the gain, the highest first."""
    found = [_track(name, evidence, resamples) for name in MEASURES]
    known = [one for one in found if not math.isnan(one.correlation)]
    return sorted(known, key=lambda one: -one.correlation)


def _track(measure: str, evidence: Evidence, resamples: int) -> Track:
    groups = [evidence.group(measure, task) for task in evidence.tasks]
    groups = [group for group in groups if len(group[0]) > 1]
    low, high = spearman_interval(groups, resamples, stream(0)) if groups else (math.nan, math.nan)
    return Track(
        measure=measure,
        correlation=mean_spearman(groups) if groups else math.nan,
        low=low,
        high=high,
        num_tasks=len(groups),
        num_cells=sum(len(numbers) for numbers, _ in groups),
        chosen=average(float(gains[numbers.argmax()]) for numbers, gains in groups),
        best=average(float(gains.max()) for _, gains in groups),
        typical=average(float(gains.mean()) for _, gains in groups),
    )


def ranking(measure: str, numbers: Mapping[CellKey, float], task: str) -> list[str]:
    """The predecessors of a task, those that a measure would choose first."""
    own = {before: number for (row, before), number in numbers.items() if row == task}
    return sorted(own, key=lambda before: own[before], reverse=MEASURES[measure].rising)
