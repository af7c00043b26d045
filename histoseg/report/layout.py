"""Records laid out as the cells of a table."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from histoseg.errors import DataError
from histoseg.records.schema import Record
from histoseg.report.cell import Cell, CellKey
from histoseg.report.table import Table, TableSpec

NOT_FINISHED = "not finished"
TOO_FEW = "too few structures are prepared"
NOT_SCORED = "not scored"
UNDEFINED = "undefined"
PAPER_ONLY = "the paper's number only"

WhyMissing = Callable[[str, str], str]


def lay_out(
    spec: TableSpec,
    records: Iterable[Record],
    planned: Mapping[CellKey, Sequence[str]] | None = None,
    why_missing: WhyMissing = lambda _row, _column: "",
) -> Table:
    """The table of an experiment, with every cell, finished or not.

    Args:
        spec: What the table asks for.
        records: What is finished, in any order.
        planned: The replicates of each row and column when all is finished, the column "" for all columns of a row; by
            default those that have a record.
        why_missing: Why a row and column cannot be had from the prepared sources; "" if they can.

    Raises:
        DataError: If a record has no cell in the table, or two are the same replicate of a cell.
    """
    found = list(records)
    ordered = _in_order(spec, (record for record in found if spec.has_cell(record.column)))
    measured = _in_order(spec, (record for record in found if not spec.has_cell(record.column)))
    empty = (_empty_cell(spec, key, planned or {}) for key in spec.keys)
    cells = (replace(cell, records=_records_of(spec, cell, ordered)) for cell in empty)
    filled = {
        (cell.row, cell.column): replace(cell, reason=_reason(spec, cell, ordered, why_missing)) for cell in cells
    }
    return Table(spec=spec, cells=filled, records=ordered, measured=measured)


def natural(text: str) -> list[str | int]:
    """A key that sorts "seed 10" after "seed 2"."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


def _in_order(spec: TableSpec, records: Iterable[Record]) -> tuple[Record, ...]:
    """The records as they are printed: by row, column, replicate."""
    found = list(records)
    rows, columns = list(spec.rows), ["", *spec.columns]
    for record in found:
        if record.row not in rows or (record.column and (record.row, record.column) not in spec.keys):
            place = f"row {record.row!r}, column {record.column!r}"
            raise DataError(f"record {record.name}: {place} is not in the table {spec.title!r}")

    def order(record: Record) -> tuple[int, int, list[str | int], tuple[str, ...]]:
        return rows.index(record.row), columns.index(record.column), natural(record.replicate), record.sources

    return tuple(sorted(found, key=order))


def _empty_cell(spec: TableSpec, key: CellKey, planned: Mapping[CellKey, Sequence[str]]) -> Cell:
    row, column = key
    return Cell(
        row=row,
        column=column,
        score=spec.score or column,
        planned=(*planned.get((row, ""), ()), *planned.get(key, ())),
        paper=spec.paper.numbers.get(key),
        interval=spec.interval,
    )


def _records_of(spec: TableSpec, cell: Cell, records: Sequence[Record]) -> dict[str, Record]:
    """By replicate. A row may have a network for each structure: each fills the columns that it scores."""
    found: dict[str, Record] = {}
    for record in records:
        fills = record.column == cell.column or (not record.column and record.has_score(cell.column))
        if record.row != cell.row or not fills:
            continue
        if (other := found.get(record.replicate)) is not None:
            place = f"{spec.title_of((cell.row, cell.column))}, {record.replicate}"
            raise DataError(
                f"records {other.name} and {record.name} are both {place}; report one state of data and code at a time"
            )
        found[record.replicate] = record
    return found


def _reason(spec: TableSpec, cell: Cell, records: Sequence[Record], why_missing: WhyMissing) -> str:
    if cell.values:
        return ""
    if cell.row in spec.paper.only:
        return PAPER_ONLY
    if cell.records:
        return UNDEFINED
    structure = spec.structure(cell.column)
    scored = [name for record in records if (record.row, record.column) == (cell.row, "") for name in record.scores]
    is_scored = any(spec.structure(name) == structure for name in scored)
    return why_missing(cell.row, cell.column) or (NOT_SCORED if is_scored else NOT_FINISHED)
