"""An experiment against what a store holds: which runs there are, and why others are not."""

import logging
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from histoseg.errors import ConfigError, DataError
from histoseg.experiments._available import Available, assumed
from histoseg.report.layout import TOO_FEW
from histoseg.report.table import TableSpec
from histoseg.runs import catalog
from histoseg.runs.config import Data, Run
from histoseg.runs.names import has_field, override, parse_assignment, run_name, stage_name
from histoseg.shards.index import SourceIndex, open_index, prepare_command, size_option
from histoseg.shards.verify import prepared_sources
from histoseg.sources._declared import load_source
from histoseg.store.keys import index_key
from histoseg.store.objects import Store
from histoseg.types import EXTERNAL, FOLDS, SPLITS, Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The runs of an experiment that the prepared sources allow."""

    experiment: str
    runs: tuple[Run, ...]
    sources: Mapping[str, SourceIndex]  # The prepared sources it reads
    absent: tuple[str, ...]  # Sources the experiment knows that are not prepared
    incomplete: Mapping[str, str] = field(default_factory=dict)  # Why rows are left out that a person must complete

    @property
    def checksums(self) -> dict[str, str]:
        """The index checksum of each source."""
        return {name: index.checksum for name, index in self.sources.items()}

    @property
    def groups(self) -> dict[str, list[Run]]:
        """The runs that share their first stage, by its name, in the order of the first run of each."""
        found: dict[str, list[Run]] = {}
        for run in self.runs:
            found.setdefault(stage_name(run, 0, self.checksums), []).append(run)
        return found

    @property
    def cells(self) -> dict[str, Run]:
        """The runs by the name of their result."""
        return {run_name(run, self.checksums): run for run in self.runs}

    @property
    def available(self) -> dict[str, Available]:
        """What is known of each prepared source."""
        return available(self.sources)


def available(sources: Mapping[str, SourceIndex]) -> dict[str, Available]:
    """What experiments want to know of prepared sources."""
    return {
        name: Available(
            task=index.task,
            splits=frozenset(split for split in (*SPLITS, *FOLDS, EXTERNAL) if len(index.rows(split))),
            num_patients=len(set(index.samples.patient)),
            classes=tuple(index.task.classes[i] for i in index.class_pixels().nonzero()[0]),
            images_with_objects=index.images_with_objects,
        )
        for name, index in sources.items()
    }


def load_experiment(name: str, scale: str) -> Any:
    """The module of an experiment that is a table."""
    if catalog.kind_of(name) != catalog.TABLE:
        raise ConfigError(
            f"{name} trains nothing: it takes slides and a model; choose from {', '.join(catalog.tables())}"
        )
    module = catalog.load(catalog.EXPERIMENTS, name)
    if scale not in module.SCALES:
        raise ConfigError(f"{name} has no scale {scale!r}; choose from {', '.join(module.SCALES)}")
    return module


def data_of(name: str, scale: str, sets: Sequence[str]) -> Data:
    """How an experiment stores images, which must be known before any shard is written."""
    module = load_experiment(name, scale)
    runs: list[Run] = module.runs(scale, 1, {source: assumed(_task_of(source)) for source in module.SOURCES})
    return assigned_to_runs(runs, sets)[0].data


def _task_of(source: str) -> Task:
    """The task of a source; of one that is not in the catalog any task, as only raw folders and stores know it."""
    if source in catalog.names(catalog.SOURCES):
        return catalog.load_source(source).TASK
    return Task(name=source, title=source, classes=("background", "object"), mpp=1.0, licence="")


def sources_of(module: Any, declared: Mapping[str, Path]) -> list[str]:
    """The sources to prepare for an experiment: those that it names, and declared ones that teach its structures."""
    others = {name: _why_unwanted(module, name, declared) for name in sorted(declared.keys() - set(module.SOURCES))}
    for name, why in others.items():
        if why:
            logger.warning("%s: %s is left out: %s", declared[name], name, why)
    return [*module.SOURCES, *(name for name, why in others.items() if not why)]


def _why_unwanted(module: Any, name: str, declared: Mapping[str, Path]) -> str:
    """Why an experiment does not read a declared source; empty if it does, or if the source has a fault to be said."""
    experiment, structures = module.__name__.rpartition(".")[2], structures_of(module)
    if not structures:
        return (
            f"{experiment} reads only {', '.join(module.SOURCES)}; name it in the SOURCES of an experiment of your own"
        )
    try:
        structure = load_source(name, declared).TASK.structure
    except DataError:
        return ""
    if structure in structures:
        return ""
    return f"its structure is {structure!r}, and {experiment} reads {', '.join(structures)}; correct it if it is one"


def structures_of(module: Any) -> tuple[str, ...]:
    """The structures of which an experiment reads every source; most experiments name their sources alone."""
    found: tuple[str, ...] = getattr(module, "STRUCTURES", ())
    return found


def incompleteness(module: object) -> Callable[[Run], str]:
    """Why a run is left out that a person must complete by assignments, as with a file; empty for complete ones."""
    found: Callable[[Run], str] = getattr(module, "why_incomplete", lambda _: "")
    return found


def make_plan(name: str, store: Store, scale: str, seeds: int, sets: Sequence[str]) -> Plan:
    """The runs of an experiment on the sources prepared in a store."""
    module = load_experiment(name, scale)
    layout = data_of(name, scale, sets).layout
    present = [source for source in module.SOURCES if store.size(index_key(source, layout)) is not None]
    sources = {source: open_index(store, source, layout) for source in present}
    sources |= _others(module, store, layout)
    absent = tuple(source for source in module.SOURCES if source not in sources)
    known = available(sources)
    runs: list[Run] = module.runs(scale, seeds, known)
    if not runs:
        found = ", ".join(sources) or "no sources"
        why = "; ".join(dict.fromkeys(_reasons(module, known)))
        remedy = _how_to_prepare(name, store, scale, layout, absent)
        raise ConfigError(f"{name}: no cell can be had from {found} at {store.url}: {why}{remedy}")
    if strange := {run.experiment for run in runs} - {name}:
        raise ConfigError(f"{module.__file__}: its runs are of the experiment {strange.pop()!r}; it must be {name!r}")
    assigned = assigned_to_runs(runs, sets)
    lacking = list(map(incompleteness(module), assigned))
    plan = Plan(
        experiment=name,
        runs=tuple(run for run, why in zip(assigned, lacking, strict=True) if not why),
        sources=sources,
        absent=absent,
        incomplete={run.row: why for run, why in zip(assigned, lacking, strict=True) if why},
    )
    for line in _say_unused(plan, module):
        logger.warning("%s", line)
    return plan


def _say_unused(plan: Plan, module: Any) -> list[str]:
    """A sentence for each prepared source that no run reads, with the reason."""
    read = {source for run in plan.runs for source in run.sources}
    return [
        f"{name} is prepared, but no run of {plan.experiment} reads it: {_why_unused(name, read, plan, module)}"
        for name in plan.sources
        if name not in read
    ]


def _why_unused(name: str, read: Set[str], plan: Plan, module: Any) -> str:
    task, tasks = plan.sources[name].task, [plan.sources[other].task for other in sorted(read)]
    before = [other.name for other in tasks if other.structure == task.structure and _is_preferred(other, task)]
    if task.structure and before:
        return f"{task.structure} is learnt from {', '.join(before)}, and {name} is for where none of them is prepared"
    reasons = [*dict.fromkeys(_reasons(module, plan.available))]
    instead = [other.name for other in tasks if task.structure and other.structure == task.structure]
    return (
        f"{task.structure} is learnt from {', '.join(instead)}"
        if reasons == [TOO_FEW] and instead
        else "; ".join(reasons)
    )


def _is_preferred(one: Task, other: Task) -> bool:
    """Whether the second is left out where the first is prepared."""
    return other.reserve is not None and (one.reserve is None or one.reserve < other.reserve)


def _others(module: Any, store: Store, layout: str) -> dict[str, SourceIndex]:
    """Prepared sources that an experiment does not name but that teach its structures, as declared ones do."""
    if not structures_of(module):
        return {}
    unnamed = [name for name, other in prepared_sources(store) if other == layout and name not in module.SOURCES]
    indexes = {name: open_index(store, name, layout) for name in unnamed}
    return {name: index for name, index in indexes.items() if index.task.structure in structures_of(module)}


def assigned_to_runs(runs: Sequence[Run], sets: Sequence[str]) -> list[Run]:
    """The runs with each assignment made in those that have the field and can take the value.

    Rows that cannot, as one whose recipe has another schedule, stay as they are, with a line that names them.

    Raises:
        ConfigError: If there is an assignment that no run can take.
    """
    found = list(runs)
    for assignment in sets:
        path, _, _ = parse_assignment(assignment)
        if not any(has_field(run, path) for run in found):
            override(found[0], assignment)  # Raises, and lists the fields there are.
        refused: dict[str, ConfigError] = {}
        found = [_assigned(run, assignment, path, refused) for run in found]
        if refused and not any(has_field(run, path) and run.row not in refused for run in found):
            raise next(iter(refused.values()))
        having = {run.row for run in found if has_field(run, path)}
        if others := list(dict.fromkeys(run.row for run in found if run.row not in having)):
            logger.info("%s: no such setting in %s, which stay as they are", assignment, ", ".join(others))
        if refused:
            logger.warning("%s is not for %s: %s", assignment, ", ".join(refused), next(iter(refused.values())))
    return found


def _assigned(run: Run, assignment: str, path: str, refused: dict[str, ConfigError]) -> Run:
    """The run with the assignment, if it has the field; as it is if it refuses the value, which is noted by its row."""
    if not has_field(run, path):
        return run
    try:
        return override(run, assignment)
    except ConfigError as error:
        refused[run.row] = error
        return run


def _reasons(module: Any, sources: Mapping[str, Available]) -> list[str]:
    """Why an experiment has no run, by the places of its table."""
    spec: TableSpec = module.SPEC
    return [module.why_missing(row, column, sources) or TOO_FEW for row, column in spec.places]


def _how_to_prepare(name: str, store: Store, scale: str, layout: str, absent: Sequence[str]) -> str:
    """What to do about sources that are not prepared, or not as the experiment reads them, or too small."""
    if not absent:
        return "; prepare them again with more images"
    others = [f"; {source} is prepared as {other}" for source, other in prepared_sources(store) if source in absent]
    # Assignments are not options of `prepare`; a layout that they changed is asked for by its size.
    is_own = layout == data_of(name, scale, ()).layout
    options = f"--experiment {name} --scale {scale}" if is_own else size_option(layout)
    submit = f"`make submit EXP={name} SCALE={scale} DATA=FOLDER STORE={store.url}` with the same SET"
    how = prepare_command(absent, store.url, options) if options else submit
    return f"{''.join(others)}; {name} at {scale} reads {layout}: {how}"
