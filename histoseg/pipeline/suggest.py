"""Which predecessors a source should be refined from, from networks that are finished: nothing is trained."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from histoseg.errors import ConfigError, DataError
from histoseg.experiments._affinity_advice import suggest
from histoseg.experiments._affinity_evidence import evidence_of, measures_of, tracks
from histoseg.experiments._affinity_table import predecessors_of
from histoseg.experiments._grid import set_of
from histoseg.pipeline.complete import complete
from histoseg.pipeline.plan import Plan, assigned_to_runs, available, load_experiment, make_plan
from histoseg.pipeline.stage import is_stored
from histoseg.records.read import read_record
from histoseg.report.cell import CellKey
from histoseg.report.layout import lay_out
from histoseg.report.write import read_records
from histoseg.runs.config import Run
from histoseg.runs.names import stage_name
from histoseg.runs.request import Request
from histoseg.shards.index import open_index
from histoseg.store.objects import Store
from histoseg.training.process import Process


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """What was measured between a source and sets of predecessors, and what follows.

    Attributes:
        measures: By name, for each new task and predecessors.
        titles: Of sets of predecessors.
        unfinished: Sets of predecessors that no network of is finished.
    """

    lines: tuple[str, ...]
    measures: Mapping[str, Mapping[CellKey, float]]
    titles: Mapping[str, str]
    unfinished: tuple[str, ...]


def suggest_predecessors(source: str, request: Request, store: Store, cache: Path, process: Process) -> Suggestion:
    """Measure a prepared source against each finished network of `request.experiment`, and say which to refine.

    Measures are recorded as those of the experiment are, so that asking again costs nothing.

    Raises:
        ConfigError: If the experiment measures nothing, or no network of it is finished.
        DataError: If the source is not prepared as the experiment's are, or has no images to train on.
    """
    module = load_experiment(request.experiment, request.scale)
    if not hasattr(module, "measuring"):
        raise ConfigError(f"{request.experiment} measures nothing before it trains; choose affinity")
    plan = make_plan(request.experiment, store, request.scale, request.seeds, request.sets)
    groups = _by_network(source, module.measuring, plan, request, store)
    finished = [runs for name, runs in groups.items() if is_stored(name, store)]
    if not finished:
        what = f"{store.url} has no finished network of {request.experiment} with these settings"
        raise ConfigError(f"{what}; train them: {request.command}")
    keys = [key for runs in finished for key in complete(runs, store, cache, process)]
    measures = measures_of(read_record(store.get(key), f"{store.url}/{key}") for key in keys)
    table = lay_out(module.SPEC, read_records(plan, store)[0])
    titles = predecessors_of(table)
    absent = [titles[set_of(runs[0].part)] for runs in groups.values() if runs not in finished]
    return Suggestion(
        lines=tuple(suggest(source, measures, tracks(evidence_of(table).without(source)), titles)),
        measures=measures,
        titles=titles,
        unfinished=tuple(dict.fromkeys(absent)),
    )


def _by_network(
    source: str, measuring: Callable[..., list[Run]], plan: Plan, request: Request, store: Store
) -> dict[str, list[Run]]:
    """What is to be measured between a source and sets of predecessors, by the name of the network's training."""
    index = open_index(store, source, plan.runs[0].data.layout)
    if not len(index.rows("train")):
        raise DataError(f"{source} at {store.url} has no images in its split train; prepare it with more patients")
    indexes = {**plan.sources, source: index}
    checksums = {name: one.checksum for name, one in indexes.items()}
    runs = measuring(request.scale, request.seeds, source, available(indexes))
    # Assigned together with those of the table, which have the fields of refining.
    assigned = assigned_to_runs([*plan.runs, *runs], request.sets)[len(plan.runs) :]
    groups: dict[str, list[Run]] = {}
    for run in assigned:
        groups.setdefault(stage_name(run, 0, checksums), []).append(run)
    return groups
