"""Leave one task out: every new task by every set of predecessor tasks by every method."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from histoseg.experiments._available import Sources
from histoseg.methods.transfer import Transfer
from histoseg.models.unet import UNetSpec
from histoseg.runs.config import Data, Optim, Run, Select, Settings, Stage
from histoseg.scoring.pixels import Pixels
from histoseg.types import SPLITS

ALL_OTHERS = "all_others"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large an experiment is; the defaults are the paper's.

    Attributes:
        optim: Of pretraining; `refine` is that of refining, whose precision is the same.
        refine_batch: Patches in one step of refining.
    """

    methods: Mapping[str, Settings]
    data: Data = field(default_factory=Data)
    network: UNetSpec = field(default_factory=UNetSpec)
    optim: Optim = field(default_factory=Optim)
    refine: Optim = field(default_factory=lambda: Optim(lr=1e-3, steps=0, epochs=50))
    refine_batch: int = 32
    evaluator: Pixels = field(default_factory=Pixels)


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

    def runs(self, scale: str, seeds: int, sources: Sources) -> list[Run]:
        """Every cell that the prepared sources allow, for seeds 0 to `seeds` - 1."""
        return [
            self._run(scale, seed, (new_task, column, method), sources)
            for seed in range(seeds)
            for new_task, column in self._cells()
            for method in self.scales[scale].methods
            if not self.why_missing(new_task, f"{column}.{method}", sources)
        ]

    def why_missing(self, row: str, column: str, sources: Sources) -> str:
        """Why a cell cannot be had from these sources; empty if it can. A column is "predecessors.method"."""
        before = column.partition(".")[0]
        if row not in sources:
            return f"no shards of {row}"
        if lacking := [split for split in SPLITS if split not in sources[row].splits]:
            return f"too few patients ({sources[row].num_patients}) for {' and '.join(lacking)}"
        if not self._predecessors(row, before, sources):
            return f"no shards of {before}"
        return ""

    def _cells(self) -> Iterator[tuple[str, str]]:
        """New task and predecessor set of every cell but those that are NA."""
        return ((row, column) for row in self.new_tasks for column in self.columns if row != column)

    def _predecessors(self, new_task: str, column: str, sources: Sources) -> tuple[str, ...]:
        others = [source for source in self.sources if source != new_task]
        return tuple(source for source in (others if column == ALL_OTHERS else [column]) if source in sources)

    def _run(self, scale: str, seed: int, cell: tuple[str, str, str], sources: Sources) -> Run:
        new_task, column, method = cell
        sizes = self.scales[scale]
        pretrain = Stage(
            label="pretrain",
            method=sizes.methods[method],
            select=Select(sources=self._predecessors(new_task, column, sources)),
            optim=sizes.optim,
        )
        refine = Stage(
            label="refine",
            method=Transfer(batch=sizes.refine_batch),
            select=Select(sources=(new_task,), splits=("train",)),
            optim=replace(sizes.refine, precision=sizes.optim.precision),
            keep="best val",
        )
        return Run(
            experiment=self.experiment,
            scale=scale,
            row=new_task,
            column=f"{column}.{method}",
            seed=seed,
            data=sizes.data,
            network=sizes.network,
            stages=(pretrain, refine),
            score=Select(sources=(new_task,), splits=("test",)),
            evaluator=sizes.evaluator,
        )
