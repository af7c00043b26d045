"""An experiment against what a store holds: which runs there are, and why others are not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from histoseg.errors import ConfigError
from histoseg.report.fold_spec import FoldTableSpec
from histoseg.runs import catalog
from histoseg.runs.config import AnyRun, Data, FoldRun, Run, method_name
from histoseg.runs.names import cell_id, has_field, override, pretraining_id
from histoseg.shards.index import SourceIndex, layout_options, open_index, prepare_command
from histoseg.shards.verify import prepared_sources
from histoseg.store.keys import index_key
from histoseg.store.objects import Store
from histoseg.types import FOLDS, Method

TOO_FEW = "too few structures are prepared"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The cells of an experiment that the prepared sources allow.

    Attributes:
        runs: One per cell and seed.
        sources: The prepared sources it reads.
        absent: Sources the experiment knows that are not prepared.
    """

    experiment: str
    runs: tuple[AnyRun, ...]
    sources: Mapping[str, SourceIndex]
    absent: tuple[str, ...]

    @property
    def checksums(self) -> dict[str, str]:
        """The index checksum of each source."""
        return {name: index.checksum for name, index in self.sources.items()}

    @property
    def groups(self) -> dict[str, list[AnyRun]]:
        """The runs that share a pretraining, by its id, in the order of the first of each."""
        found: dict[str, list[AnyRun]] = {}
        for run in self.runs:
            found.setdefault(pretraining_id(run, self.checksums), []).append(run)
        return found

    @property
    def cells(self) -> dict[str, AnyRun]:
        """The runs by the name of their result."""
        return {cell_id(run, self.checksums): run for run in self.runs}


def load_experiment(name: str, scale: str) -> Any:
    """The module of an experiment.

    Raises:
        ConfigError: If there is no such experiment or it has no such scale; the text lists the choices.
    """
    module = catalog.load("histoseg.experiments", name)
    if scale not in module.SCALES:
        raise ConfigError(f"{name} has no scale {scale!r}; choose from {', '.join(module.SCALES)}")
    return module


def data_of(name: str, scale: str, sets: Sequence[str]) -> Data:
    """How an experiment cuts patches, which is needed before any shard is written.

    Raises:
        ConfigError: If a name or an assignment cannot be, as far as that can be told without the sources.
    """
    module = load_experiment(name, scale)
    sizes = module.SCALES[scale]
    for assignment in sets:
        if hasattr(sizes, assignment.partition(".")[0]):
            sizes = override(sizes, assignment)
        else:
            _require_possible(module, assignment)
    data: Data = sizes.data
    return data


def _require_possible(module: Any, assignment: str) -> None:
    """Refuse what can be set in no run of an experiment's kind, with whichever method."""
    make = _example_of_folds if isinstance(module.SPEC, FoldTableSpec) else _example_of_tasks
    methods = [catalog.load("histoseg.methods", name).METHOD() for name in catalog.names("histoseg.methods")]
    path = assignment.partition("=")[0].strip()
    able = [method for method in methods if has_field(make(method), path)]
    if path.startswith("method.") and not able:
        choices = "; ".join(f"{method_name(one)} has {', '.join(vars(one))}" for one in methods)
        raise ConfigError(f"no method has a field {path!r}: {choices}")
    override(make([*able, *methods][0]), assignment)


def _example_of_tasks(method: Method) -> Run:
    return Run(experiment="", scale="", method=method, predecessors=("a",), new_task="b", column="")


def _example_of_folds(method: Method) -> FoldRun:
    return FoldRun(
        experiment="",
        scale="",
        row="",
        structures=(),
        method=method,
        sources=("a",),
        train=FOLDS[:1],
        test=FOLDS[2],
        data=Data(folds=True),
        subtyping=catalog.load("histoseg.methods", "subtyping").METHOD(),
    )


def make_plan(name: str, store: Store, scale: str, seeds: int, sets: Sequence[str]) -> Plan:
    """The runs of an experiment on the sources prepared in a store.

    Raises:
        ConfigError: If a name or assignment cannot be, or no cell is left.
    """
    module = load_experiment(name, scale)
    layout = data_of(name, scale, sets).layout
    present = [source for source in module.SOURCES if store.size(index_key(source, layout)) is not None]
    sources = {source: open_index(store, source, layout) for source in present}
    absent = tuple(source for source in module.SOURCES if source not in sources)
    runs = [_overridden(run, sets) for run in module.runs(scale, seeds, sources)]
    if not runs:
        found = ", ".join(sources) or "no sources"
        why = _why_none(module, sources)
        remedy = _how_to_prepare(name, store, scale, layout, absent)
        raise ConfigError(f"{name}: no cell can be had from {found} at {store.url}: {why}{remedy}")
    if strange := {run.experiment for run in runs} - {name}:
        raise ConfigError(f"{module.__file__}: its runs are of the experiment {strange.pop()!r}; it must be {name!r}")
    for assignment in sets:
        if not any(has_field(run, assignment.partition("=")[0].strip()) for run in runs):
            override(runs[0], assignment)  # raises, and says which fields there are
    return Plan(experiment=name, runs=tuple(runs), sources=sources, absent=absent)


def _why_none(module: Any, sources: Mapping[str, SourceIndex]) -> str:
    """Why an experiment has no run, by the places of its table."""
    spec = module.SPEC
    if isinstance(spec, FoldTableSpec):
        places = [(place.row, place.column) for place in spec.places if place.row not in spec.paper_only]
    else:
        places = [(address.new_task, address.column) for address in spec.addresses]
    return "; ".join(dict.fromkeys(module.why_missing(*place, sources) or TOO_FEW for place in places))


def _how_to_prepare(name: str, store: Store, scale: str, layout: str, absent: Sequence[str]) -> str:
    """What to do about sources that are not prepared, or not as the experiment reads them, or too small."""
    if not absent:
        return "; prepare them anew with more images"
    others = [f"; {source} is prepared as {other}" for source, other in prepared_sources(store) if source in absent]
    # Assignments are no options of `prepare`; a layout that they changed is asked for by its size.
    is_own = layout == data_of(name, scale, ()).layout
    options = f"--experiment {name} --scale {scale}" if is_own else layout_options(layout)
    return f"{''.join(others)}; {name} at {scale} reads {layout}: {prepare_command(absent, store.url, options)}"


def _overridden(run: AnyRun, sets: Sequence[str]) -> AnyRun:
    """The run with all assignments that it has a field for; methods differ in theirs."""
    for assignment in sets:
        if has_field(run, assignment.partition("=")[0].strip()):
            run = override(run, assignment)
    return run
