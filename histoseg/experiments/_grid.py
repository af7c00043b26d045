"""Leave one task out: every new task by every set of predecessor tasks by every method."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from histoseg.errors import ConfigError
from histoseg.experiments._available import Sources
from histoseg.methods.transfer import Transfer
from histoseg.models.unet import UNetSpec
from histoseg.runs.config import Data, Optim, Run, Select, Settings, Stage
from histoseg.scoring.pixels import Pixels
from histoseg.types import SPLITS

ALL_OTHERS, NONE = "all_others", "none"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large an experiment is; the defaults are the paper's.

    Attributes:
        optim: Of pretraining; `refine` is that of refining, whose precision is the same.
        refine_batch: Patches in one step of refining.
        before: What measures how near the new task is to its predecessors, before it is trained on; None measures
            nothing.
    """

    methods: Mapping[str, Settings]
    data: Data = field(default_factory=Data)
    network: UNetSpec = field(default_factory=UNetSpec)
    optim: Optim = field(default_factory=Optim)
    refine: Optim = field(default_factory=lambda: Optim(lr=1e-3, steps=0, epochs=50))
    refine_batch: int = 32
    evaluator: Pixels = field(default_factory=Pixels)
    before: Settings | None = None


@dataclass(frozen=True, kw_only=True)
class LeaveOneTaskOut:
    """The runs of a table whose rows are new tasks and whose columns are sets of predecessor tasks.

    Attributes:
        sources: All tasks; the column ALL_OTHERS has all of them but the new one.
        new_tasks: The rows.
        columns: ALL_OTHERS, NONE, or sources joined by "+".
    """

    experiment: str
    sources: tuple[str, ...]
    new_tasks: tuple[str, ...]
    columns: tuple[str, ...]
    scales: Mapping[str, Sizes]

    def runs(self, scale: str, seeds: int, sources: Sources) -> list[Run]:
        """Every cell that the prepared sources allow, for seeds 0 to `seeds` - 1, and what is measured before them."""
        found = [
            self._run(scale, seed, (new_task, column, method), sources)
            for seed in range(seeds)
            for new_task, column in self._cells()
            for method in self.scales[scale].methods
            if not self.why_missing(new_task, f"{column}.{method}", sources)
        ]
        before = self.scales[scale].before
        return found if before is None else [*found, *_measuring(found, before)]

    def measuring(self, scale: str, seeds: int, new_task: str, sources: Sources) -> list[Run]:
        """What is measured between every set of prepared predecessors and a new task, which may be any source."""
        before = self.scales[scale].before
        if before is None:
            raise ConfigError(f"{self.experiment} at {scale} measures nothing before it trains")
        possible = [column for column in self.columns if new_task not in members(column)]
        found = [
            self._run(scale, seed, (new_task, column, method), sources)
            for seed in range(seeds)
            for column in possible
            for method in self.scales[scale].methods
            if all(source in sources for source in members(column))
        ]
        return _measuring(found, before)

    def why_missing(self, row: str, column: str, sources: Sources) -> str:
        """Why a cell cannot be had from these sources; empty if it can. A column is "predecessors.method"."""
        before = set_of(column)
        if row not in sources:
            return f"no shards of {row}"
        if lacking := [split for split in SPLITS if split not in sources[row].splits]:
            return f"too few patients ({sources[row].num_patients}) for {' and '.join(lacking)}"
        if absent := [source for source in members(before) if source not in sources]:
            return f"no shards of {' and '.join(absent)}"
        if before != NONE and not self._predecessors(row, before, sources):
            return f"no shards of {before}"
        return ""

    def _cells(self) -> Iterator[tuple[str, str]]:
        """New task and predecessor set of every cell but those that are NA."""
        return ((row, column) for row in self.new_tasks for column in self.columns if row not in members(column))

    def _predecessors(self, new_task: str, column: str, sources: Sources) -> tuple[str, ...]:
        others = [source for source in self.sources if source != new_task]
        return tuple(source for source in (others if column == ALL_OTHERS else members(column)) if source in sources)

    def _run(self, scale: str, seed: int, cell: tuple[str, str, str], sources: Sources) -> Run:
        new_task, column, method = cell
        sizes, before = self.scales[scale], self._predecessors(new_task, column, sources)
        refine = Stage(
            label="refine",
            method=Transfer(batch=sizes.refine_batch),
            select=Select(sources=(new_task,), splits=("train",)),
            optim=replace(sizes.refine, precision=sizes.optim.precision),
            keep="best val",
        )
        stages: tuple[Stage, ...] = (refine,)
        if before:
            select = Select(sources=before)
            stages = (Stage(label="pretrain", method=sizes.methods[method], select=select, optim=sizes.optim), refine)
        return Run(
            experiment=self.experiment,
            scale=scale,
            row=new_task,
            column=f"{column}.{method}",
            seed=seed,
            data=sizes.data,
            network=sizes.network,
            stages=stages,
            score=Select(sources=(new_task,), splits=("test",)),
            evaluator=sizes.evaluator,
        )


def _measuring(runs: Sequence[Run], before: Settings) -> list[Run]:
    """For each run with predecessors one that ends where that begins with the new task, and measures instead.

    It stands in no column: its part is the column of the run that it foretells.
    """
    return [
        replace(
            run,
            column="",
            part=run.column,
            stages=run.stages[:-1],
            score=replace(run.score, splits=("train",)),
            evaluator=before,
        )
        for run in runs
        if len(run.stages) > 1
    ]


def set_of(column: str) -> str:
    """The predecessors that a column named "predecessors.method" has."""
    return column.partition(".")[0]


def members(column: str) -> tuple[str, ...]:
    """The sources that a column names; none of ALL_OTHERS and NONE."""
    return () if column in (ALL_OTHERS, NONE) else tuple(column.split("+"))


def subsets(sources: tuple[str, ...], most: int) -> tuple[str, ...]:
    """A column for every set of one to `most` sources, the smallest sets first."""
    return tuple("+".join(chosen) for size in range(1, most + 1) for chosen in combinations(sources, size))
