"""From the records in a store to a table, its pictures and its page."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from histoseg.errors import OldRecordError
from histoseg.records.read import read_record, refuse_old
from histoseg.records.schema import Record
from histoseg.report.cell import CellKey
from histoseg.report.layout import TOO_FEW, lay_out
from histoseg.report.page import Report, write
from histoseg.report.settings import describe_settings
from histoseg.report.table import TableSpec
from histoseg.report.text import to_markdown
from histoseg.report.written import Written
from histoseg.runs import catalog
from histoseg.runs.config import Run
from histoseg.shards.index import SourceIndex
from histoseg.store.keys import is_record_key, record_key, records_folder
from histoseg.store.objects import FileStore, Store

logger = logging.getLogger(__name__)


@runtime_checkable
class PlannedExperiment(Protocol):
    """The runs of an experiment by name, why rows are left out, and its sources.

    Sources are the prepared ones, what experiments ask of them, and absent ones.
    """

    @property
    def experiment(self) -> str: ...
    @property
    def cells(self) -> Mapping[str, Run]: ...
    @property
    def incomplete(self) -> Mapping[str, str]: ...
    @property
    def sources(self) -> Mapping[str, SourceIndex]: ...
    @property
    def available(self) -> Mapping[str, object]: ...
    @property
    def absent(self) -> Sequence[str]: ...


def write_report(
    plan: PlannedExperiment, store: Store, out: Path, *, command: str, omissions: Sequence[str] = ()
) -> Written:
    """Build the report of a plan below `out`; cells without a record are shown with the reason.

    The report gets a folder named like the experiment. `omissions` say what was left out and why, if the caller knows
    more than the store shows.

    Raises:
        DataError: If a record is damaged. One of an earlier format is left out and counted.
    """
    module = catalog.load("histoseg.experiments", plan.experiment)
    spec: TableSpec = module.SPEC
    records, old = read_records(plan, store)
    planned = replicates_of(run for run in plan.cells.values() if spec.has_cell(run.column))
    others = [] if records or old else describe_settings(plan.experiment, tuple(plan.cells.values()), store)
    for line in others:
        logger.warning("%s", line)

    def why_missing(row: str, column: str) -> str:
        is_planned = (row, "") in planned or (row, column) in planned
        why = str(module.why_missing(row, column, plan.available))
        return why or ("" if is_planned else plan.incomplete.get(row, TOO_FEW))

    table = lay_out(spec, records, planned, why_missing)
    folder = out / plan.experiment
    absent = omissions or [f"{name} is not in this store." for name in plan.absent]
    warnings = (warning for index in plan.sources.values() for warning in index.warnings)
    report = Report(
        stem=plan.experiment,
        command=command,
        omissions=[*absent, *warnings, *old, *(f"{line}." for line in others)],
        notes=[(name, text, count) for name, index in plan.sources.items() for text, count in index.notes.items()],
        table=table,
        read=store.get,
        model=keep_model(table.records, store, folder / "model") if spec.keeps_model else "",
    )
    return Written(table=to_markdown(table), page=write(folder, report))


def read_records(plan: PlannedExperiment, store: Store) -> tuple[list[Record], list[str]]:
    """The records of the runs that are finished, and a sentence about those of another format if there are any."""
    wanted = {record_key(plan.experiment, name) for name in plan.cells}
    stored = [key for key in store.list(records_folder(plan.experiment)) if is_record_key(key)]
    records, old = [], []
    for key in (key for key in stored if key in wanted):
        try:
            records.append(read_record(store.get(key), f"{store.url}/{key}"))
        except OldRecordError as error:
            old.append(error)
    if len(records) < len(wanted):  # What is missing may be there under the name that another format gave it.
        old += filter(None, (_old(store, key) for key in stored if key not in wanted))
    if not old:
        return records, []
    sentence = f"Records of another format that are left out: {len(old)}; the first is {old[0]}."
    logger.warning("%s", sentence)
    return records, [sentence]


def _old(store: Store, key: str) -> OldRecordError | None:
    try:
        refuse_old(store.get(key), f"{store.url}/{key}")
    except OldRecordError as error:
        return error
    return None


def replicates_of(runs: Iterable[Run]) -> dict[CellKey, list[str]]:
    """The replicates that each row and column is to have; several networks of one row may share a replicate."""
    found: dict[CellKey, list[str]] = {}
    for run in runs:
        replicates = found.setdefault((run.row, run.column), [])
        replicates += [] if run.replicate in replicates else [run.replicate]
    return found


def keep_model(records: Sequence[Record], store: Store, folder: Path) -> str:
    """Copy the network of the first record into a folder; returns its path, or "" if there is none.

    The description is removed first and written last, so that a folder with one is whole.
    """
    source = records[0].model if records else ""
    if not source or store.size(f"{source}/model.json") is None:
        return ""
    kept = FileStore(folder)
    kept.delete("model.json")
    for name in ("model.safetensors", "model.json"):
        kept.put(name, store.get(f"{source}/{name}"))
    return str(folder)
