"""The cells of a table as text: Markdown for people, CSV for programs."""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping

from histoseg.report.cells import Cell, TableSpec, best_methods, explain, summarise
from histoseg.report.header import Header
from histoseg.report.records import Address, Record

MISSING = "—"
NOT_APPLICABLE = "NA"


def format_score(value: float, digits: int = 3) -> str:
    """The number, or a dash where it is undefined."""
    return MISSING if math.isnan(value) else f"{value:.{digits}f}"


def format_interval(interval: tuple[float, float]) -> str:
    """Both ends, or nothing where they are undefined."""
    low, high = interval
    return "" if math.isnan(low) or math.isnan(high) else f"[{low:.3f}, {high:.3f}]"


def to_markdown(spec: TableSpec, cells: Mapping[Address, Cell]) -> str:
    """The table in the paper's layout, with what explains it below."""
    pairs = [(column, method) for column in spec.columns for method in spec.methods]
    titles = [f"{spec.columns[column]}<br>{spec.methods[method]}" for column, method in pairs]
    lines = [
        f"# {spec.title}",
        "",
        markdown_row(["New task \\ predecessors", *titles]),
        markdown_row(["---"] * (len(pairs) + 1)),
    ]
    for row, title in spec.rows.items():
        texts = [_cell_text(spec, cells, Address(row, column, method)) for column, method in pairs]
        lines.append(markdown_row([f"**{title}**", *texts]))
    return "\n".join([*lines, "", *(f"- {text}" for text in [*summarise(spec, cells), *explain(spec)]), ""])


def markdown_row(texts: Iterable[str]) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def _cell_text(spec: TableSpec, cells: Mapping[Address, Cell], address: Address) -> str:
    if (address.new_task, address.column) in spec.not_applicable:
        return NOT_APPLICABLE
    cell = cells[address]
    paper = "" if cell.paper is None else f"paper {cell.paper:.3f}"
    if not cell.records:
        return "<br>".join(filter(None, [MISSING, cell.reason, paper]))
    score = format_score(cell.mean)
    if address.method in best_methods(spec, cells, address.new_task, address.column):
        score = f"**{score}**"
    if cell.sd is not None:
        score += f" ± {cell.sd:.3f}"
    return "<br>".join(filter(None, [score, format_interval(cell.interval), paper]))


HEADER_FIELDS = (
    *("gpu_seconds", "device", "world_size"),
    *("experiment", "scale", "cell", "pretraining", "git_commit", "finished_at"),
)
CSV_FIELDS = (
    *("new_task", "column", "predecessors", "method", "seed", "status"),
    *("miou_pooled", "interval_low", "interval_high", "miou_reference", "miou_present", "majority_miou_pooled"),
    *("paper_miou", "iou_per_class", "num_test_images", "num_test_pixels", "best_epoch"),
    *("seconds_pretrain", "seconds_refine", "seconds_evaluate", *HEADER_FIELDS),
)


def to_csv(cells: Mapping[Address, Cell]) -> str:
    """One line per cell and seed, and one per missing cell, whose status is the reason; undefined values are empty."""
    return to_lines(CSV_FIELDS, (row for cell in cells.values() for row in _csv_rows(cell)))


def _csv_rows(cell: Cell) -> Iterator[dict[str, object]]:
    for row in [_csv_row(record) for record in cell.records] or [{"status": cell.reason}]:
        yield {**cell.address._asdict(), "paper_miou": "" if cell.paper is None else cell.paper, **row}


def to_lines(names: Iterable[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Rows as CSV below the names of their columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def header_fields(header: Header) -> dict[str, object]:
    """What a line of any table's CSV says of its run."""
    return {name: getattr(header, name) for name in ("seed", *HEADER_FIELDS)}


def _csv_row(record: Record) -> dict[str, object]:
    """All but the address. Classes are `name=IoU`, separated by `;`."""
    scores = record.scores
    classes = zip(record.classes, scores.per_class, strict=True)
    names = ("miou_pooled", "miou_reference", "miou_present", "majority_miou_pooled")
    return {
        **header_fields(record.header),
        "best_epoch": record.best_epoch,
        "num_test_pixels": record.num_test_pixels,
        **{name: plain(getattr(scores, name)) for name in names},
        "status": "finished",
        "predecessors": ";".join(record.predecessors),
        "interval_low": plain(scores.interval[0]),
        "interval_high": plain(scores.interval[1]),
        "iou_per_class": ";".join(f"{name}={plain(iou)}" for name, iou in classes),
        "num_test_images": len(record.test_images),
        **{f"seconds_{phase}": record.header.seconds.get(phase, "") for phase in ("pretrain", "refine", "evaluate")},
    }


def plain(value: float) -> float | str:
    """A number for programs: empty where it is undefined."""
    return "" if math.isnan(value) else value
