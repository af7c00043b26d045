"""How training went, as figures: the loss of each training, and the validation score where one chose the weights."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from histoseg.records.schema import Record, StageRecord
from histoseg.report import drawing
from histoseg.report.table import Table, TableSpec

NUM_COLUMNS = 4
PlotsOfStages = dict[str, dict[tuple[str, str], StageRecord]]  # By title of a plot, then by line and stage name


def draw_losses(table: Table) -> bytes | None:
    """The loss of trainings without a validation score, as recorded (faint) and as running mean; None without any."""
    plots = loss_plots(table)
    if not plots:
        return None
    colours = drawing.colours_of(line for lines in plots.values() for line, _ in lines)
    figure, axes = drawing.lines_of_axes(drawing.sizes_of(len(plots), NUM_COLUMNS), (2.9, 2.1))
    for axis, (title, lines) in zip([axis for row in axes for axis in row], plots.items(), strict=True):
        for (line, _), stage in lines.items():
            _draw_loss(axis, stage, colours[line])
        axis.set_title(title, loc="left", fontsize=9, color=drawing.INK)
        axis.grid(color=drawing.FAINT, lw=0.6)
    figure.supxlabel("step", fontsize=9)
    figure.supylabel("training loss", fontsize=9)
    drawing.add_line_legend(figure, colours)
    return drawing.to_png(figure)


def loss_plots(table: Table) -> PlotsOfStages:
    """The trainings that each plot of losses shows. Those that several runs share appear once."""
    plots: PlotsOfStages = {}
    for record in table.records:
        for number, stage in enumerate(record.stages):
            if stage.curve and not has_scores(stage):
                title = _title(table, record, number)
                plots.setdefault(title, {})[_line(table.spec, record), stage.stage] = stage
    return plots


def has_scores(stage: StageRecord) -> bool:
    """Whether a training was watched by a validation score."""
    return any(not math.isnan(point.score) for point in stage.curve)


def _title(table: Table, record: Record, number: int) -> str:
    """The row; or the group of columns, with the row if its stage differs from row to row."""
    spec, later = table.spec, f" ({record.stages[number].label})" if number else ""
    if not record.column:
        return spec.rows[record.row] + later
    alike = [
        other.stages[number].stage
        for other in table.records
        if (other.column, other.replicate) == (record.column, record.replicate) and len(other.stages) > number
    ]
    where = f" · {spec.rows[record.row]}" if len(set(alike)) > 1 else ""
    return spec.group_of(record.column) + where + later


def _line(spec: TableSpec, record: Record) -> str:
    """The name of a line in its plot: the column, or the structures that are learnt."""
    if record.column:
        return spec.columns[record.column]
    structures = dict.fromkeys(spec.structure(name) for name in record.scores)
    return ", ".join(filter(None, structures)) or "loss"


def _draw_loss(axis: Axes, stage: StageRecord, colour: str) -> None:
    steps, losses = [point.step for point in stage.curve], [point.loss for point in stage.curve]
    reach = len(losses) // 40  # A running mean over a twentieth of the curve
    smooth = [float(np.mean(losses[max(0, i - reach) : i + reach + 1])) for i in range(len(losses))]
    axis.plot(steps, losses, color=colour, lw=0.8, alpha=0.3)
    axis.plot(steps, smooth, color=colour, lw=1.6)


def draw_validation(table: Table) -> bytes | None:
    """The validation score over the steps of each run and the step that was kept, rows by groups; None without any."""
    spec = table.spec
    watched = [record for record in table.records if any(map(has_scores, record.stages))]
    if not watched:
        return None
    groups = list(spec.groups) if any(record.column for record in watched) else [""]
    colours = drawing.colours_of(_line(spec, record) for record in watched)
    figure, axes = drawing.lines_of_axes([len(groups)] * len(spec.rows), (2.2, 1.55))
    for row, line in zip(spec.rows, axes, strict=True):
        for group, axis in zip(groups, line, strict=True):
            axis.sharex(axes[0][0])
            axis.sharey(line[0])
            here = [one for one in watched if one.row == row and (not group or spec.group_of(one.column) == group)]
            _draw_runs(axis, spec, here, colours)
            if not here:
                axis.text(
                    0.5, 0.5, _why_empty(table, row, group), transform=axis.transAxes, ha="center", color=drawing.GREY
                )
            axis.label_outer()
        line[0].set_ylabel(spec.rows[row].replace(" (", "\n("), fontsize=8)
    for axis, group in zip(axes[0], groups, strict=True):
        axis.set_title(group, fontsize=9, color=drawing.INK)
    figure.supxlabel("step", fontsize=9)
    figure.supylabel("validation score", fontsize=9)
    drawing.add_line_legend(figure, colours)
    return drawing.to_png(figure)


def _why_empty(table: Table, row: str, group: str) -> str:
    is_possible = any((row, column) in table.cells for column in table.spec.groups.get(group, table.spec.columns))
    return "not finished" if is_possible else "NA"


def _draw_runs(axis: Axes, spec: TableSpec, records: Sequence[Record], colours: dict[str, str]) -> None:
    for record in records:
        colour = colours[_line(spec, record)]
        for stage in filter(has_scores, record.stages):
            scores = {point.step: point.score for point in stage.curve}
            axis.plot(list(scores), list(scores.values()), color=colour, lw=1.2)
            if stage.best_step in scores:
                chosen = scores[stage.best_step]
                axis.plot(stage.best_step, chosen, marker="o", ms=4, color=colour, mec="white", mew=0.6)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axis.grid(color=drawing.FAINT, lw=0.6)
