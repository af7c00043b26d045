"""An experiment against what a store holds: which runs there are, and why others are not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from histoseg.errors import ConfigError
from histoseg.experiments._available import Available, assumed
from histoseg.report.layout import TOO_FEW
from histoseg.report.table import TableSpec
from histoseg.runs import catalog
from histoseg.runs.config import Data, Run
from histoseg.runs.names import has_field, override, parse_assignment, run_name, stage_name
from histoseg.shards.index import SourceIndex, layout_options, open_index, prepare_command
from histoseg.shards.verify import prepared_sources
from histoseg.store.keys import index_key
from histoseg.store.objects import Store
from histoseg.types import EXTERNAL, FOLDS, SPLITS


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The runs of an experiment that the prepared sources allow."""

    experiment: str
    runs: tuple[Run, ...]
    sources: Mapping[str, SourceIndex]  # The prepared sources it reads
    absent: tuple[str, ...]  # Sources the experiment knows that are not prepared

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
        )
        for name, index in sources.items()
    }


def load_experiment(name: str, scale: str) -> Any:
    """The module of an experiment."""
    module = catalog.load("histoseg.experiments", name)
    if scale not in module.SCALES:
        raise ConfigError(f"{name} has no scale {scale!r}; choose from {', '.join(module.SCALES)}")
    return module


def data_of(name: str, scale: str, sets: Sequence[str]) -> Data:
    """How an experiment stores images, which must be known before any shard is written."""
    module = load_experiment(name, scale)
    tasks = {source: catalog.load("histoseg.sources", source).TASK for source in module.SOURCES}
    runs: list[Run] = module.runs(scale, 1, {source: assumed(task) for source, task in tasks.items()})
    return _assigned(runs, sets)[0].data


def make_plan(name: str, store: Store, scale: str, seeds: int, sets: Sequence[str]) -> Plan:
    """The runs of an experiment on the sources prepared in a store."""
    module = load_experiment(name, scale)
    layout = data_of(name, scale, sets).layout
    present = [source for source in module.SOURCES if store.size(index_key(source, layout)) is not None]
    sources = {source: open_index(store, source, layout) for source in present}
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
    return Plan(experiment=name, runs=tuple(_assigned(runs, sets)), sources=sources, absent=absent)


def _assigned(runs: Sequence[Run], sets: Sequence[str]) -> list[Run]:
    """The runs with each assignment made in those that have the field."""
    found = list(runs)
    for assignment in sets:
        path, _, _ = parse_assignment(assignment)
        able = [has_field(run, path) for run in found]
        if not any(able):
            override(found[0], assignment)  # Raises, and lists the fields there are.
        found = [override(run, assignment) if has else run for run, has in zip(found, able, strict=True)]
    return found


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
    options = f"--experiment {name} --scale {scale}" if is_own else layout_options(layout)
    return f"{''.join(others)}; {name} at {scale} reads {layout}: {prepare_command(absent, store.url, options)}"
