"""Leave one task out: every new task by every set of predecessor tasks by every method."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from histoseg.runs.config import Data, Eval, Model, Optim, Refine, Run
from histoseg.shards.index import SourceIndex
from histoseg.types import SPLITS, Method

ALL_OTHERS = "all_others"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large an experiment is; the defaults are the paper's."""

    methods: Mapping[str, Method]
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    optim: Optim = field(default_factory=Optim)
    refine: Refine = field(default_factory=Refine)
    eval: Eval = field(default_factory=Eval)


@dataclass(frozen=True, kw_only=True)
class LeaveOneTaskOut:
    """The runs of a table whose rows are new tasks and whose columns are sets of predecessor tasks.

    Attributes:
        sources: All tasks; the column ALL_OTHERS has all of them but the new one.
        new_tasks: The rows.
        columns: ALL_OTHERS, or a source.
    """

    experiment: str
    sources: tuple[str, ...]
    new_tasks: tuple[str, ...]
    columns: tuple[str, ...]
    scales: Mapping[str, Sizes]

    def runs(self, scale: str, seeds: int, sources: Mapping[str, SourceIndex]) -> list[Run]:
        """Every cell that the prepared sources allow, for seeds 0 to `seeds` - 1."""
        return [
            self._run(scale, seed, (new_task, column, method), sources)
            for seed in range(seeds)
            for new_task, column in self._cells()
            for method in self.scales[scale].methods
            if not self.why_missing(new_task, column, sources)
        ]

    def why_missing(self, new_task: str, column: str, sources: Mapping[str, SourceIndex]) -> str:
        """Why a cell cannot be had from these sources; empty if it can. Columns are "<predecessors>.<method>"."""
        column = column.partition(".")[0]
        if new_task not in sources:
            return f"no shards of {new_task}"
        if lacking := [split for split in SPLITS if not len(sources[new_task].rows(split))]:
            patients = len(set(sources[new_task].samples.patient))
            return f"too few patients ({patients}) for {' and '.join(lacking)}"
        if not self._predecessors(new_task, column, sources):
            return f"no shards of {column}"
        return ""

    def _cells(self) -> Iterator[tuple[str, str]]:
        """New task and column of every cell but those that are NA."""
        return ((row, column) for row in self.new_tasks for column in self.columns if row != column)

    def _predecessors(self, new_task: str, column: str, sources: Mapping[str, SourceIndex]) -> tuple[str, ...]:
        others = [source for source in self.sources if source != new_task]
        return tuple(source for source in (others if column == ALL_OTHERS else [column]) if source in sources)

    def _run(self, scale: str, seed: int, cell: tuple[str, str, str], sources: Mapping[str, SourceIndex]) -> Run:
        new_task, column, method = cell
        sizes = self.scales[scale]
        return Run(
            experiment=self.experiment,
            scale=scale,
            method=sizes.methods[method],
            predecessors=self._predecessors(new_task, column, sources),
            new_task=new_task,
            column=column,
            seed=seed,
            data=sizes.data,
            model=sizes.model,
            optim=sizes.optim,
            refine=sizes.refine,
            eval=sizes.eval,
        )
