"""The tables of the page: cells in the paper's layout, classes, and the three averages."""

from collections.abc import Mapping
from html import escape

from histoseg.report import markup
from histoseg.report.cells import Cell, TableSpec, best_methods, explain, summarise
from histoseg.report.records import Address
from histoseg.report.tables import MISSING, NOT_APPLICABLE, format_interval, format_score


def describe_cells(spec: TableSpec, cells: Mapping[Address, Cell]) -> str:
    """The table in the paper's layout, with how to read it."""
    span = len(spec.methods)
    columns = "".join(
        f'<th scope="colgroup" colspan="{span}" class="first">{escape(c)}</th>' for c in spec.columns.values()
    )
    methods = "".join(
        f'<th scope="col"{" class=first" if i == 0 else ""}>{escape(title)}</th>'
        for _ in spec.columns
        for i, title in enumerate(spec.methods.values())
    )
    head = f'<tr><th scope="col" rowspan="2">New task</th>{columns}</tr><tr>{methods}</tr>'
    rows = [
        [markup.row_head(title), *(_pair(spec, cells, row, column) for column in spec.columns)]
        for row, title in spec.rows.items()
    ]
    caption = "mIoU on each new task (row) refined from models pretrained on each predecessor set (column)"
    return markup.framed_table(caption, head, rows, "matrix") + markup.bullets(
        [*summarise(spec, cells), *explain(spec)]
    )


def _pair(spec: TableSpec, cells: Mapping[Address, Cell], row: str, column: str) -> str:
    if (row, column) in spec.not_applicable:
        return f'<td colspan="{len(spec.methods)}" class="first none">{NOT_APPLICABLE}</td>'
    best = best_methods(spec, cells, row, column)
    return "".join(
        _result(cells[Address(row, column, method)], is_best=method in best, kind="first" if i == 0 else "")
        for i, method in enumerate(spec.methods)
    )


def _result(cell: Cell, *, is_best: bool, kind: str) -> str:
    paper = "" if cell.paper is None else f"paper {cell.paper:.3f}"
    if not cell.records:
        return markup.empty_cell(MISSING, cell.reason, [paper], kind=kind)
    spread = "" if cell.sd is None else f"± {cell.sd:.3f}"
    below = [spread, format_interval(cell.interval), paper]
    return markup.score_cell(format_score(cell.mean), below, is_best=is_best, kind=kind)


def describe_classes(spec: TableSpec, cells: Mapping[Address, Cell]) -> str:
    """One table per new task, since every task has its own classes."""
    return "".join(_classes_of_row(spec, cells, row) for row in spec.rows)


def _classes_of_row(spec: TableSpec, cells: Mapping[Address, Cell], row: str) -> str:
    finished = [cell for address, cell in cells.items() if address.new_task == row and cell.records]
    if not finished:
        return ""
    rows = [
        [*_place(spec, cell), *(markup.cell(format_score(iou), "number") for iou in cell.per_class)]
        for cell in finished
    ]
    heads = ["Predecessors", "Method", *finished[0].records[0].classes]
    return markup.table(f"{spec.rows[row]}: IoU of each class over all test images", heads, rows, num_texts=2)


def _place(spec: TableSpec, cell: Cell) -> list[str]:
    return [
        markup.row_head(spec.columns[cell.address.column]),
        markup.cell(spec.methods[cell.address.method]),
    ]


AVERAGES = (
    "Pooled: IoU of each class over the pixels of all test images, then the mean over classes (the paper's Eq. 1; our "
    "headline).",
    "Reference: as the paper's published code computes it: per image, a class absent from the image counts 0, then the "
    "mean over images. A perfect prediction of an image that shows two of four classes scores 0.5.",
    "Present: per image, the mean over the classes that the image shows, then the mean over images.",
    "Majority: pooled, for a predictor that always answers the most frequent class. A score near it learned nothing.",
)


def describe_averages(spec: TableSpec, cells: Mapping[Address, Cell]) -> str:
    """Every finished cell by every definition of the mean."""
    finished = [cell for cell in cells.values() if cell.records]
    if not finished:
        return ""
    names = ("miou_pooled", "miou_reference", "miou_present", "majority_miou_pooled")
    rows = [
        [
            markup.row_head(spec.rows[cell.address.new_task]),
            markup.cell(spec.columns[cell.address.column]),
            markup.cell(spec.methods[cell.address.method]),
            *(markup.cell(format_score(cell.mean_of(name)), "number") for name in names),
            markup.cell("" if cell.paper is None else f"{cell.paper:.3f}", "number"),
            markup.cell(", ".join(str(record.header.seed) for record in cell.records), "number"),
        ]
        for cell in finished
    ]
    heads = ["New task", "Predecessors", "Method", "Pooled", "Reference", "Present", "Majority", "Paper", "Seeds"]
    return markup.bullets(AVERAGES) + markup.table(
        "The same predictions, averaged in three ways", heads, rows, num_texts=3
    )
