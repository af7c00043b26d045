"""From the records in a store to a table, its pictures and its page."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from histoseg.plan import Plan, load_experiment
from histoseg.reporting import page
from histoseg.reporting.records import Record, from_json
from histoseg.reporting.tables import to_markdown
from histoseg.results import record_key
from histoseg.storage import Store


@dataclass(frozen=True, kw_only=True)
class Written:
    """A finished report: its table as Markdown and the path of its page."""

    table: str
    page: Path


def write_report(plan: Plan, store: Store, out: Path, *, command: str = "", omissions: Sequence[str] = ()) -> Written:
    """Build the report of a plan below `out`; cells without a record are shown with the reason.

    Args:
        plan: The cells that are wanted.
        store: Where their records lie.
        out: The report gets a folder of its own below it, named like the experiment.
        command: What to type to get it again; by default the shortest that does.
        omissions: What was left out and why, as far as the caller knows more than the store tells.

    Raises:
        DataError: If a record is damaged.
    """
    run = plan.runs[0]
    module = load_experiment(plan.experiment, run.scale)
    report = page.Report(
        stem=plan.experiment,
        spec=module.SPEC,
        records=list(read_records(plan, store)),
        read=store.get,
        command=command or f"make submit EXP={plan.experiment} SCALE={run.scale}",
        missing={
            address: reason
            for address in module.SPEC.addresses
            if (reason := module.why_missing(address.new_task, address.column, plan.sources))
        },
        omissions=[*(omissions or [f"{name} is not in this store." for name in plan.absent]), *_warnings(plan)],
    )
    written = page.write(out / plan.experiment, report)
    return Written(table=to_markdown(report.spec, report.cells), page=written)


def read_records(plan: Plan, store: Store) -> Iterator[Record]:
    """The records of a plan's cells that are finished."""
    finished = set(store.list(f"records/{plan.experiment}/"))
    for cell in plan.cells:
        if (key := record_key(plan.experiment, cell)) in finished:
            yield from_json(json.loads(store.get(key)), f"{store.url}/{key}")


def _warnings(plan: Plan) -> list[str]:
    return [warning for index in plan.sources.values() for warning in index.warnings]
