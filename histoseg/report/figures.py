"""Scores and learning curves of a table's records, each figure as the bytes of a PNG file."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from histoseg.report.cells import Cell, TableSpec
from histoseg.report.drawing import (
    FAINT,
    GREY,
    INK,
    MethodStyle,
    draw_loss,
    draw_paper,
    grid_of_axes,
    lay_out_rows,
    method_styles,
    paper_handle,
    strip,
    to_png,
)
from histoseg.report.records import Address, Record


def draw_comparison(spec: TableSpec, cells: Mapping[Address, Cell]) -> bytes:
    """Every cell as a dot with its interval, beside the paper's number and the majority-class baseline."""
    figure, axes = grid_of_axes(len(spec.rows), num_columns=2, size=(5.6, 0.9 + 0.5 * len(spec.columns)))
    for axis, row in zip(axes, spec.rows, strict=True):
        _draw_row_of_dots(axis, spec, cells, row)
    handles = [
        Line2D([], [], color=style.colour, marker=style.marker, mec="white", ms=8, lw=1.8, label=style.title)
        for style in method_styles(spec).values()
    ]
    if spec.paper:
        handles.append(paper_handle())
        handles.append(
            Line2D([], [], marker="|", color="none", mec=INK, ms=9, mew=1.5, label="averaged as the paper's code")
        )
    handles.append(Line2D([], [], color=INK, ls=":", label="always the majority class"))
    figure.supxlabel("mIoU, with the 95 % interval over test images", fontsize=9)
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    return to_png(figure)


def _draw_row_of_dots(axis: Axes, spec: TableSpec, cells: Mapping[Address, Cell], row: str) -> None:
    columns = [column for column in spec.columns if (row, column) not in spec.not_applicable]
    styles = method_styles(spec)
    for y, column in enumerate(columns):
        for i, method in enumerate(spec.methods):
            height = y + 0.28 * (i - (len(spec.methods) - 1) / 2)
            _draw_dot(axis, cells[Address(row, column, method)], height, styles[method])
    baselines = [cell.mean_of("majority_miou_pooled") for a, cell in cells.items() if a.new_task == row]
    if known := [value for value in baselines if not math.isnan(value)]:
        axis.axvline(float(np.mean(known)), color=INK, ls=":", lw=1)
    lay_out_rows(axis, [spec.columns[column] for column in columns])
    axis.set_title(spec.rows[row], loc="left", fontsize=11, fontweight="bold", color=INK)


def _draw_dot(axis: Axes, cell: Cell, height: float, style: MethodStyle) -> None:
    if cell.paper is not None:
        draw_paper(axis, cell.paper, height)
    if not cell.records:
        return
    low, high = cell.interval
    if not math.isnan(low):
        axis.plot([low, high], [height, height], color=style.colour, lw=1.8, solid_capstyle="round", zorder=3)
    if cell.paper is not None:
        axis.plot(cell.mean_of("miou_reference"), height, marker="|", ms=9, mew=1.5, color=style.colour, zorder=4)
    for record in cell.records if len(cell.records) > 1 else ():
        axis.plot(
            record.scores.miou_pooled, height, marker=".", ms=4, color=style.colour, alpha=0.6, ls="none", zorder=4
        )
    axis.plot(
        cell.mean, height, marker=style.marker, ms=7, color=style.colour, mec="white", mew=0.8, ls="none", zorder=5
    )


def draw_pretraining(spec: TableSpec, records: Sequence[Record]) -> bytes:
    """Training loss of every pretrained model: one plot per predecessor set, one line per method and seed."""
    unique = {record.header.pretraining: record for record in records if record.pretrain_curve}
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in sorted(unique.values(), key=lambda record: _place(spec, record)):
        groups.setdefault(record.predecessors, []).append(record)
    figure, axes = grid_of_axes(max(1, len(groups)), num_columns=4, size=(2.9, 2.0))
    for axis, group in zip(axes, groups.values(), strict=True) if groups else ():
        for record in group:
            draw_loss(axis, record.pretrain_curve, method_styles(spec)[record.address.method].colour)
        axis.set_title(_predecessors_title(spec, group[0]), loc="left", fontsize=9, color=INK)
        axis.grid(color=FAINT, lw=0.6)
    figure.supxlabel("step of pretraining", fontsize=9)
    figure.supylabel("training loss", fontsize=9)
    _add_method_legend(figure, spec)
    return to_png(figure)


def _place(spec: TableSpec, record: Record) -> tuple[int, int, int]:
    """Single tasks first; then as the table is ordered."""
    columns, rows = list(spec.columns), list(spec.rows)
    is_set = len(record.predecessors) > 1
    row = rows.index(record.address.new_task) if is_set else 0  # A single task is shared by all rows.
    return len(record.predecessors), columns.index(record.address.column), row


def _predecessors_title(spec: TableSpec, record: Record) -> str:
    """The column's title; where several predecessor sets share a column, also the row that tells them apart."""
    title = spec.columns[record.address.column]
    return title if len(record.predecessors) == 1 else f"{title} than {spec.rows[record.address.new_task]}"


def draw_refinement(spec: TableSpec, records: Sequence[Record]) -> bytes:
    """Validation mIoU while refining: rows are new tasks, columns predecessor sets; a dot marks the chosen epoch."""
    figure = Figure(figsize=(2.2 * len(spec.columns), 0.6 + 1.55 * len(spec.rows)), layout="constrained")
    grid = figure.subplots(len(spec.rows), len(spec.columns), squeeze=False, sharex=True, sharey="row")
    for i, row in enumerate(spec.rows):
        for j, column in enumerate(spec.columns):
            axis = grid[i, j]
            here = [r for r in records if (r.address.new_task, r.address.column) == (row, column) and r.refine_curve]
            _draw_curves(axis, spec, here)
            if not here:
                reason = "NA" if (row, column) in spec.not_applicable else "not finished"
                axis.text(0.5, 0.5, reason, transform=axis.transAxes, ha="center", va="center", color=GREY)
            if i == 0:
                axis.set_title(spec.columns[column], fontsize=9, color=INK)
            if j == 0:
                axis.set_ylabel(spec.rows[row].replace(" (", "\n("), fontsize=8)
    figure.supxlabel("epoch of refining", fontsize=9)
    figure.supylabel("validation mIoU", fontsize=9)
    _add_method_legend(figure, spec)
    return to_png(figure)


def _draw_curves(axis: Axes, spec: TableSpec, records: Sequence[Record]) -> None:
    for record in records:
        colour = method_styles(spec)[record.address.method].colour
        axis.plot(*zip(*record.refine_curve, strict=True), color=colour, lw=1.2)
        chosen = dict(record.refine_curve).get(record.best_epoch)
        if chosen is not None:
            axis.plot(record.best_epoch, chosen, marker="o", ms=4, color=colour, mec="white", mew=0.6)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axis.grid(color=FAINT, lw=0.6)
    strip(axis)


def _add_method_legend(figure: Figure, spec: TableSpec) -> None:
    handles = [Line2D([], [], color=style.colour, lw=2, label=style.title) for style in method_styles(spec).values()]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), frameon=False, fontsize=9)
