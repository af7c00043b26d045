"""The scores of a table as figures: dots beside each other, or curves where columns stand for numbers."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from histoseg.report import drawing
from histoseg.report.cell import Cell, CellKey
from histoseg.report.table import Axis, Table

DOT_SPACING = 0.28  # Between the dots of one line, which is 1 high


@dataclass(frozen=True, kw_only=True)
class DotPlot:
    """One plot under a title: beside each label the dots of some cells."""

    title: str
    lines: tuple[tuple[str, tuple[CellKey, ...]], ...]

    @property
    def keys(self) -> tuple[CellKey, ...]:
        """All its cells."""
        return tuple(key for _, keys in self.lines for key in keys)


def draw_scores(table: Table) -> dict[str, bytes]:
    """PNG files by name: curves where columns stand for numbers, else dots."""
    x_axis = table.spec.x_axis
    return {
        name: _draw_dots(table, columns) if x_axis is None else _draw_curves(table, x_axis)
        for name, columns in score_figures(table).items()
    }


def score_figures(table: Table) -> dict[str, list[str]]:
    """The columns that each figure of scores shows: all, or where they are no numbers on an axis, a structure's."""
    if table.spec.x_axis is not None:
        return {"scores": list(table.spec.columns)}
    found: dict[str, list[str]] = {}
    for column in table.spec.columns:
        structure = table.spec.structure(column)
        found.setdefault(f"scores-{structure}" if structure else "scores", []).append(column)
    return found


def dot_plots(table: Table, columns: Sequence[str]) -> list[list[DotPlot]]:
    """The plots of a figure, line by line.

    Where columns are compared, each row has a plot. Where rows are compared, each column has one, and the first columns
    of all groups stand in the first line.
    """
    spec = table.spec
    if spec.compared == "columns":
        plots = [_plot_of_row(table, row) for row in spec.rows]
        return [plots[start : start + 2] for start in range(0, len(plots), 2)]
    groups = [[column for column in group if column in columns] for group in spec.groups.values()]
    lines = [[column for column in line if column is not None] for line in zip_longest(*groups)]
    return [[_plot_of_column(table, column) for column in line] for line in lines]


def _plot_of_row(table: Table, row: str) -> DotPlot:
    groups = {
        title: tuple((row, column) for column in group if (row, column) in table.cells)
        for title, group in table.spec.groups.items()
    }
    return DotPlot(title=table.spec.rows[row], lines=tuple((title, keys) for title, keys in groups.items() if keys))


def _plot_of_column(table: Table, column: str) -> DotPlot:
    group = table.spec.group_of(column)
    title = f"{table.spec.columns[column]} · {group.lower()}" if group else table.spec.columns[column]
    return DotPlot(title=title, lines=tuple((table.spec.rows[key[0]], (key,)) for key in table.spec.keys_of(column)))


def _draw_dots(table: Table, columns: Sequence[str]) -> bytes:
    lines = dot_plots(table, columns)
    num_rows = max(len(plot.lines) for line in lines for plot in line)
    most = max(len(keys) for line in lines for plot in line for _, keys in plot.lines)
    size = (5.6, 0.75 + (0.3 if most == 1 else 0.25 * most) * num_rows)
    figure, axes = drawing.lines_of_axes([len(line) for line in lines], size)
    for plots, row in zip(lines, axes, strict=True):
        for axis, plot in zip(row, plots, strict=True):
            _draw_plot(axis, table, plot)
        if table.spec.compared == "rows":
            _align(row)
    handles = list(_handles(table, [plot for line in lines for plot in line]))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9)
    if table.spec.compared == "columns":  # Else the title of each plot names its score.
        figure.supxlabel(table.spec.score_title, fontsize=9)
    return drawing.to_png(figure)


def _align(axes: Sequence[Axes]) -> None:
    """Let axes of one line share their titles of rows and their scale."""
    lows, highs = zip(*(axis.get_xlim() for axis in axes), strict=True)
    for i, axis in enumerate(axes):
        axis.set_xlim(min(lows), max(highs))
        axis.tick_params(axis="y", labelleft=i == 0)


def _draw_plot(axis: Axes, table: Table, plot: DotPlot) -> None:
    for y, (_, keys) in enumerate(plot.lines):
        for i, key in enumerate(keys):
            _draw_cell(axis, table, table.cells[key], y + DOT_SPACING * (i - (len(keys) - 1) / 2), i)
    if not math.isnan(baseline := table.baseline_of(plot.keys)):
        axis.axvline(baseline, color=drawing.INK, ls=":", lw=1)
    drawing.lay_out_rows(axis, [label for label, _ in plot.lines])
    axis.set_title(plot.title, loc="left", fontsize=10, fontweight="bold", color=drawing.INK)


def _draw_cell(axis: Axes, table: Table, cell: Cell, height: float, number: int) -> None:
    """A cell's mean with its interval, each replicate and the published number; or why the mean is missing."""
    if cell.paper is not None:
        drawing.draw_paper(axis, cell.paper[0], height)
    if cell.reason:
        if cell.paper is None:
            place = axis.get_yaxis_transform()  # x within the axes, y as the rows are numbered
            axis.text(0.02, height, cell.reason, transform=place, fontsize=7, color=drawing.GREY, va="center")
        return
    colour, marker = drawing.COLOURS[number % len(drawing.COLOURS)], drawing.MARKERS[number % len(drawing.MARKERS)]
    low, high = cell.ends
    if not math.isnan(low):
        axis.plot([low, high], [height, height], color=colour, lw=1.8, solid_capstyle="round", zorder=3)
    if cell.paper is not None and table.spec.paper.score is not None:
        axis.plot(cell.mean_of(table.spec.paper.score[0]), height, marker="|", ms=9, mew=1.5, color=colour, zorder=4)
    if len(cell.values) > 1:
        axis.plot(cell.values, [height] * len(cell.values), marker=".", ms=5, color=colour, alpha=0.6, ls="none")
    axis.plot(cell.mean, height, marker=marker, ms=7, color=colour, mec="white", mew=0.8, ls="none", zorder=5)


def _handles(table: Table, plots: Sequence[DotPlot]) -> Iterator[Line2D]:
    """What the legend explains: only what some plot shows."""
    spec, keys = table.spec, [key for plot in plots for key in plot.keys]
    titles = list(next(iter(spec.groups.values())).values()) if spec.compared == "columns" else ["mean"]
    for i, title in enumerate(titles):
        colour, marker = drawing.COLOURS[i % len(drawing.COLOURS)], drawing.MARKERS[i % len(drawing.MARKERS)]
        lw = 0 if spec.interval is None else 1.8
        yield Line2D([], [], color=colour, marker=marker, mec="white", ms=8, lw=lw, label=title)
    if any(len(table.cells[key].values) > 1 for key in keys):
        yield Line2D([], [], color="none", marker=".", mfc=drawing.GREY, mec="none", ms=7, label="one replicate")
    if table.published(keys):
        yield drawing.paper_handle()
        if spec.paper.score is not None:
            yield Line2D([], [], marker="|", color="none", mec=drawing.INK, ms=9, mew=1.5, label=spec.paper.score[1])
    if spec.baseline is not None and not all(math.isnan(table.baseline_of(plot.keys)) for plot in plots):
        yield Line2D([], [], color=drawing.INK, ls=":", label=spec.baseline.title)


def _draw_curves(table: Table, x_axis: Axis) -> bytes:
    """The means of each row over the numbers that columns stand for, with their spread; one plot for each group."""
    groups = table.spec.groups
    figure, lines = drawing.lines_of_axes(drawing.sizes_of(len(groups), 2), (5.6, 3.6))
    colours = drawing.colours_of(table.spec.rows)
    axes = [axis for line in lines for axis in line]
    for axis, (title, columns) in zip(axes, groups.items(), strict=True):
        for i, (row, colour) in enumerate(colours.items()):
            cells = [table.cells[row, column] for column in columns if (row, column) in table.cells]
            _draw_curve(axis, x_axis, cells, colour, drawing.MARKERS[i % len(drawing.MARKERS)])
        axis.set_title(title, loc="left", fontsize=10, fontweight="bold", color=drawing.INK)
        axis.set_xlabel(x_axis.title, fontsize=9)
        _lay_out_numbers(axis, x_axis, sorted(x_axis.values[column] for column in columns))
        axis.grid(color=drawing.FAINT, lw=0.7)
    figure.supylabel(table.spec.score_title, fontsize=9)
    shown = {cell.row for cell in table.cells.values() if not cell.reason}
    drawing.add_line_legend(figure, {table.spec.rows[row]: colours[row] for row in table.spec.rows if row in shown})
    return drawing.to_png(figure)


def _draw_curve(axis: Axes, x_axis: Axis, cells: Sequence[Cell], colour: str, marker: str) -> None:
    for cell in cells:
        if cell.paper is not None:
            drawing.draw_paper(axis, x_axis.values[cell.column], cell.paper[0])
    shown = sorted((cell for cell in cells if not cell.reason), key=lambda cell: x_axis.values[cell.column])
    xs, means = [x_axis.values[cell.column] for cell in shown], [cell.mean for cell in shown]
    if x_axis.confidence:
        lows, highs = zip(*(cell.band(x_axis.confidence) for cell in shown), strict=True) if shown else ((), ())
        axis.fill_between(xs, lows, highs, color=colour, alpha=0.15, lw=0)
    spreads = None if x_axis.confidence else [cell.sd or 0.0 for cell in shown]
    if shown:
        axis.errorbar(xs, means, spreads, color=colour, marker=marker, ms=6, mec="white", lw=1.6, capsize=3)


def _lay_out_numbers(axis: Axes, x_axis: Axis, numbers: Sequence[int | float]) -> None:
    """Ticks at the numbers that columns stand for, and the line of the score that is to be reached."""
    if x_axis.is_log:
        axis.set_xscale("log")
        axis.minorticks_off()
    axis.set_xticks(numbers, [f"{number:g}" for number in numbers])
    if not math.isnan(x_axis.goal):
        axis.axhline(x_axis.goal, color=drawing.INK, ls="--", lw=1)
