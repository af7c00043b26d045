"""From the records in a store to a table, its pictures and its page."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from histoseg.errors import DataError
from histoseg.pipeline.plan import TOO_FEW, Plan, load_experiment
from histoseg.report import fold_page, fold_records, page, records
from histoseg.report.fields import mapping
from histoseg.report.fold_records import Division, FoldRecord
from histoseg.report.fold_spec import FoldTableSpec
from histoseg.report.frame import Frame
from histoseg.runs.config import AnyRun, FoldRun
from histoseg.runs.names import record_key
from histoseg.store.objects import FileStore, Store

AnyRecord = TypeVar("AnyRecord")


@dataclass(frozen=True, kw_only=True)
class Written:
    """A finished report: its table as Markdown and the path of its page."""

    table: str
    page: Path


def write_report(plan: Plan, store: Store, out: Path, *, command: str, omissions: Sequence[str] = ()) -> Written:
    """Build the report of a plan below `out`; cells without a record are shown with the reason.

    Args:
        plan: The cells that are wanted.
        store: Where their records lie.
        out: The report gets a folder of its own below it, named like the experiment.
        command: What to type to get it again.
        omissions: What was left out and why, as far as the caller knows more than the store tells.

    Raises:
        DataError: If a record is damaged.
    """
    run = plan.runs[0]
    module = load_experiment(plan.experiment, run.scale)
    absent = omissions or [f"{name} is not in this store." for name in plan.absent]
    frame = Frame(
        stem=plan.experiment,
        command=command,
        omissions=[*absent, *(warning for index in plan.sources.values() for warning in index.warnings)],
    )
    write = _write_folds if isinstance(module.SPEC, FoldTableSpec) else _write_tasks
    return write(frame, module, plan, store, out / plan.experiment)


def _write_tasks(frame: Frame, module: Any, plan: Plan, store: Store, folder: Path) -> Written:
    report = page.Report(
        frame=frame,
        spec=module.SPEC,
        records=list(read_records(plan, store, records.from_json)),
        read=store.get,
        missing={
            address: reason
            for address in module.SPEC.addresses
            if (reason := module.why_missing(address.new_task, address.column, plan.sources))
        },
    )
    return Written(table=report.markdown, page=page.write(folder, report))


def _write_folds(frame: Frame, module: Any, plan: Plan, store: Store, folder: Path) -> Written:
    spec: FoldTableSpec = module.SPEC
    found = list(read_records(plan, store, fold_records.from_json))
    planned = divisions_of(plan.runs)
    report = fold_page.FoldReport(
        frame=frame,
        spec=spec,
        records=found,
        read=store.get,
        planned=planned,
        missing={
            place: reason
            for place in spec.places
            if (reason := module.why_missing(*place, plan.sources) or ("" if place.row in planned else TOO_FEW))
        },
        model=keep_model(fold_page.in_order(spec, found), store, folder / "model") if spec.keeps_model else "",
    )
    return Written(table=report.markdown, page=fold_page.write(folder, report))


def read_records(plan: Plan, store: Store, read: Callable[[Mapping[str, Any], str], AnyRecord]) -> Iterator[AnyRecord]:
    """The records of a plan's cells that are finished, each as `read` makes it of its values and its place.

    Raises:
        DataError: If one is damaged.
    """
    finished = set(store.list(f"records/{plan.experiment}/"))
    for cell in plan.cells:
        if (key := record_key(plan.experiment, cell)) in finished:
            where = f"{store.url}/{key}"
            try:
                values = mapping(json.loads(store.get(key)))
            except ValueError as error:
                raise DataError(f"{where}: no record: {error}; delete it and evaluate the cell again") from error
            yield read(values, where)


def divisions_of(runs: Sequence[AnyRun]) -> dict[str, list[Division]]:
    """The divisions that each row of a table over folds is trained on."""
    found: dict[str, list[Division]] = {}
    for run in runs:
        if isinstance(run, FoldRun):
            divisions = found.setdefault(run.row, [])
            division = Division(run.train, run.test, run.seed)
            divisions += [] if division in divisions else [division]
    return found


def keep_model(found: Sequence[FoldRecord], store: Store, folder: Path) -> str:
    """Copy the network of the first record into a folder; returns its path, or "" if there is none.

    The description is removed first and written last, so that a folder with one is whole.
    """
    if not found or store.size(f"{found[0].model_folder}/model.json") is None:
        return ""
    kept = FileStore(folder)
    kept.delete("model.json")
    for name in ("model.safetensors", "model.json"):
        kept.put(name, store.get(f"{found[0].model_folder}/{name}"))
    return str(folder)
