"""The cells of a table as text: Markdown for people, CSV for programs."""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping

from histoseg.records.schema import Record
from histoseg.report.cell import Cell, CellKey, Published
from histoseg.report.layout import NOT_FINISHED, natural
from histoseg.report.section import Grid, GridCell, GridRow
from histoseg.report.sentences import explain, summarise
from histoseg.report.table import Table

MISSING = "—"
NOT_APPLICABLE = "NA"


def format_score(value: float) -> str:
    """The number, or a dash where it is undefined."""
    return MISSING if math.isnan(value) else f"{value:.3f}"


def format_interval(ends: tuple[float, float]) -> str:
    """Both ends, or nothing where they are undefined."""
    low, high = ends
    return "" if math.isnan(low) or math.isnan(high) else f"[{low:.3f}, {high:.3f}]"


def format_paper(paper: Published | None) -> str:
    """The published number, or nothing if there is none."""
    if paper is None:
        return ""
    mean, sd = paper
    return f"paper {mean:.3f}" if sd is None else f"paper {mean:.3f} ± {sd:.3f}"


def format_spread(cell: Cell) -> str:
    """The standard deviation, and how many replicates are finished if not all are."""
    spread = "" if cell.sd is None else f"± {cell.sd:.3f}"
    part = "" if cell.is_finished else f"({len(cell.records)} of {len(cell.planned)})"
    return _join(" ", (spread, part))


def _join(separator: str, texts: Iterable[str]) -> str:
    return separator.join(filter(None, texts))


def grids(table: Table) -> list[Grid]:
    """The table as text: one grid, or one for each group of columns where rows are compared."""
    spec = table.spec
    if spec.compared == "rows":
        return [_grid(table, title, list(group), {}) for title, group in spec.groups.items()]
    return [_grid(table, spec.title, list(spec.columns), {title: len(group) for title, group in spec.groups.items()})]


def _grid(table: Table, title: str, columns: list[str], groups: Mapping[str, int]) -> Grid:
    spec = table.spec
    rows = [
        GridRow(
            title=f"{name} (paper only)" if row in spec.paper.only else name,
            cells=tuple(_grid_cell(table, (row, column)) for column in columns),
        )
        for row, name in spec.rows.items()
    ]
    return Grid(
        title=title,
        corner=spec.row_name,
        groups=groups,
        heads=tuple(spec.columns[column] for column in columns),
        rows=(*rows, *_baseline_row(table, columns)),
    )


def _grid_cell(table: Table, key: CellKey) -> GridCell:
    if key in table.spec.not_applicable:
        return GridCell(score=NOT_APPLICABLE)
    cell = table.cells[key]
    paper = format_paper(cell.paper)
    if cell.row in table.spec.paper.only:
        return GridCell(below=(paper or MISSING,))
    if cell.reason:
        return GridCell(score=MISSING, reason=cell.reason, below=tuple(filter(None, (paper,))))
    return GridCell(
        score=format_score(cell.mean),
        is_best=key in table.best,
        spread=format_spread(cell),
        below=tuple(filter(None, (format_interval(cell.ends), paper))),
        has_result=True,
    )


def _baseline_row(table: Table, columns: Iterable[str]) -> Iterator[GridRow]:
    """The baseline of each column, where rows are compared and some column has one."""
    spec = table.spec
    scores = [table.baseline_of(spec.keys_of(column)) for column in columns]
    if spec.baseline is not None and spec.compared == "rows" and not all(map(math.isnan, scores)):
        cells = tuple(GridCell(score="" if math.isnan(score) else format_score(score)) for score in scores)
        yield GridRow(title=spec.baseline.title, cells=cells, is_baseline=True)


def to_markdown(table: Table) -> str:
    """The table, and below it what explains it."""
    lines = [f"# {table.spec.title}"]
    for grid in grids(table):
        if not grid.groups and grid.title:
            lines += ["", f"## {grid.title}"]
        lines += ["", *_markdown_grid(grid)]
    texts = [*summarise(table), *explain(table), *table.spec.notes]
    return "\n".join([*lines, "", *(f"- {text}" for text in texts), ""])


def _markdown_grid(grid: Grid) -> Iterator[str]:
    groups = [title for title, size in grid.groups.items() for _ in range(size)] or [""] * len(grid.heads)
    yield _markdown_row([grid.corner, *(_join("<br>", pair) for pair in zip(groups, grid.heads, strict=True))])
    yield _markdown_row(["---"] * (1 + len(grid.heads)))
    for row in grid.rows:
        title = row.title if row.is_baseline else f"**{row.title}**"
        yield _markdown_row([title, *map(_markdown_cell, row.cells)])


def _markdown_row(texts: Iterable[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def _markdown_cell(cell: GridCell) -> str:
    score = f"**{cell.score}**" if cell.is_best else cell.score
    return _join("<br>", (_join(" ", (score, cell.spread)), cell.reason, *cell.below))


def to_csv(table: Table) -> str:
    """One line for each cell and replicate, then for each measure; a cell without records says why in its status.

    Undefined values are empty. Which columns follow the first eight depends on what the records hold.
    """
    rows = [row for cell in table.cells.values() for row in _csv_rows(cell)]
    rows += [row for record in table.measured for row in _csv_measures(record)]
    text = io.StringIO()
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _csv_rows(cell: Cell) -> Iterator[dict[str, object]]:
    mean, sd = cell.paper or (math.nan, None)
    for replicate in sorted({*cell.planned, *cell.records}, key=natural) if cell.records else [""]:
        record = cell.records.get(replicate)
        reason = cell.reason if not cell.records else NOT_FINISHED
        yield {
            "row": cell.row,
            "column": cell.column,
            "score": cell.score,
            "replicate": replicate,
            "status": reason if record is None else "finished",
            "value": "" if record is None else _plain(record.score(cell.score)),
            "paper_mean": _plain(mean),
            "paper_sd": sd,
            **({} if record is None else _csv_record(cell, record)),
        }


def _csv_measures(record: Record) -> Iterator[dict[str, object]]:
    """The measures of a record that stands in no cell; its column is what the network was trained on."""
    for name, value in record.measures.items():
        yield {
            "row": record.row,
            "column": record.part,
            "score": name,
            "replicate": record.replicate,
            "status": "finished",
            "value": _plain(value),
            **_csv_origin(record),
        }


def _csv_record(cell: Cell, record: Record) -> dict[str, object]:
    """What a record says besides the score. Classes are `name=score`, separated by `;`."""
    family = cell.score.rpartition(".")[0]  # Of "test.gland.pq", what else is known of test.gland.
    others = {name: value for name, value in record.scores.items() if record.column and name != cell.score}
    of_classes = {leaf: values for name, values in record.per_class.items() if (leaf := _leaf(name, family))}
    sizes = {leaf: size for name, size in record.sizes.items() if (leaf := _leaf(name, family))}
    return {
        **{name: _plain(value) for name, value in others.items()},
        **{f"{name}_per_class": _classes(values) for name, values in of_classes.items()},
        **{f"num_{name}": size for name, size in sizes.items()},
        **{f"best_step_{stage.label}": stage.best_step for stage in record.stages},
        **{f"seconds_{phase}": seconds for phase, seconds in record.seconds.items()},
        **_csv_origin(record),
    }


def _csv_origin(record: Record) -> dict[str, object]:
    return {
        "sources": ";".join(record.sources),
        "stages": ";".join(stage.stage for stage in record.stages),
        **{name: getattr(record, name) for name in CSV_FIELDS},
    }


CSV_FIELDS = (
    *("name", "experiment", "scale", "seed", "gpu_seconds", "device", "world_size", "attempt"),
    *("git_commit", "finished_at"),
)


def _leaf(name: str, family: str) -> str:
    """The last part of a name of that family; empty for other names."""
    before, _, last = name.rpartition(".")
    return last if before == family else ""


def _classes(scores: Mapping[str, float]) -> str:
    return ";".join(f"{name}={_plain(score)}" for name, score in scores.items())


def _plain(value: float) -> float | str:
    """A number for programs: empty where it is undefined."""
    return "" if math.isnan(value) else value
