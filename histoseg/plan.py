"""An experiment against what a store holds: which runs there are, and why others are not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from histoseg import catalog
from histoseg.config import AnyRun, Data
from histoseg.errors import ConfigError
from histoseg.runs import cell_id, has_field, override, pretraining_id
from histoseg.shards.index import SourceIndex, index_key, open_index
from histoseg.storage import Store


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
    """How an experiment cuts patches, which is needed before any shard is written."""
    data: Data = load_experiment(name, scale).SCALES[scale].data
    for assignment in sets:
        if assignment.startswith("data."):
            data = override(data, assignment.removeprefix("data."))
    return data


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
        raise ConfigError(
            f"{name}: no cell can be had from {found} at {store.url}; prepare more of {', '.join(absent)}"
        )
    for assignment in sets:
        if not any(has_field(run, assignment.partition("=")[0].strip()) for run in runs):
            override(runs[0], assignment)  # raises, and says which fields there are
    return Plan(experiment=name, runs=tuple(runs), sources=sources, absent=absent)


def _overridden(run: AnyRun, sets: Sequence[str]) -> AnyRun:
    """The run with all assignments that it has a field for; methods differ in theirs."""
    for assignment in sets:
        if has_field(run, assignment.partition("=")[0].strip()):
            run = override(run, assignment)
    return run
