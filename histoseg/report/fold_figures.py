"""Scores and training curves of a table over folds, each figure as the bytes of a PNG file."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from histoseg.report.drawing import (
    FAINT,
    GREY,
    INK,
    METHOD_COLOURS,
    draw_loss,
    draw_paper,
    grid_of_axes,
    lay_out_rows,
    paper_handle,
    to_png,
)
from histoseg.report.fold_records import FoldRecord
from histoseg.report.fold_spec import FoldTableSpec, Place
from histoseg.report.fold_table import OTSU, FoldTable, Number

COLOUR = METHOD_COLOURS[0]


def columns_of(spec: FoldTableSpec) -> dict[str, tuple[str, ...]]:
    """The columns of each structure, score by score, and block by block within a score."""
    found: dict[str, list[str]] = {}
    for column in spec.columns:
        found.setdefault(column.split(".")[1], []).append(column)
    scores = list(dict.fromkeys(column.split(".")[2] for column in spec.columns))
    return {s: tuple(sorted(c, key=lambda column: scores.index(column.split(".")[2]))) for s, c in found.items()}


def draw_scores(table: FoldTable, structure: str) -> bytes:
    """Every number of a structure: a dot for each division, their mean, the paper's number, Otsu's threshold."""
    columns = columns_of(table.spec)[structure]
    num_blocks = len(table.spec.blocks)
    figure, axes = grid_of_axes(len(columns), num_columns=num_blocks, size=(5.6, 0.75 + 0.3 * len(table.spec.rows)))
    for axis, column in zip(axes, columns, strict=True):
        _draw_column(axis, table, column)
    for start in range(0, len(axes), num_blocks):
        _align(axes[start : start + num_blocks])
    handles = [
        Line2D([], [], color="none", marker="o", mfc=COLOUR, mec="white", ms=8, label="mean"),
        Line2D([], [], color="none", marker=".", mfc=COLOUR, mec="none", ms=7, alpha=0.6, label="one division"),
    ]
    if any(table.paper_means(column) for column in columns):
        handles.append(paper_handle())
    if any(column in table.otsu for column in columns):
        handles.append(Line2D([], [], color=INK, ls=":", label=OTSU))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9)
    return to_png(figure)


def _align(axes: Sequence[Axes]) -> None:
    """Let axes side by side share their titles of rows and their scale."""
    lows, highs = zip(*(axis.get_xlim() for axis in axes), strict=True)
    for i, axis in enumerate(axes):
        axis.set_xlim(min(lows), max(highs))
        axis.tick_params(axis="y", labelleft=i == 0)


def _draw_column(axis: Axes, table: FoldTable, column: str) -> None:
    for height, row in enumerate(table.spec.rows):
        _draw_number(axis, table.numbers[Place(row, column)], float(height))
    if column in table.otsu:
        axis.axvline(table.otsu[column], color=INK, ls=":", lw=1)
    lay_out_rows(axis, list(table.spec.rows.values()))
    block, titles = next((block, titles) for block, titles in table.spec.blocks.items() if column in titles)
    axis.set_title(f"{titles[column]} · {block.lower()}", loc="left", fontsize=10, fontweight="bold", color=INK)


def _draw_number(axis: Axes, number: Number, height: float) -> None:
    if number.paper is not None:
        draw_paper(axis, number.paper[0], height)
    if number.reason:
        if number.paper is None:
            place = axis.get_yaxis_transform()  # x within the axes, y as the rows are numbered
            axis.text(0.02, height, number.reason, transform=place, fontsize=7, color=GREY, va="center")
        return
    scores = list(number.scores.values())
    axis.plot(scores, [height] * len(scores), marker=".", ms=6, color=COLOUR, alpha=0.5, ls="none", zorder=3)
    axis.plot(number.mean, height, marker="o", ms=7, color=COLOUR, mec="white", mew=0.8, ls="none", zorder=4)


def draw_training(spec: FoldTableSpec, records: Sequence[FoldRecord]) -> bytes | None:
    """Training loss of every network: a plot for each row, a line for each division and structure it is trained for.

    Returns:
        The figure, or None if no record has a curve.
    """
    plots = _plots_of_curves(spec, records)
    if not plots:
        return None
    kinds = list(dict.fromkeys(kind for lines in plots.values() for kind, _ in lines))
    colours = {kind: METHOD_COLOURS[i % len(METHOD_COLOURS)] for i, kind in enumerate(kinds)}
    figure, axes = grid_of_axes(len(plots), num_columns=4, size=(2.9, 2.1))
    for axis, (title, lines) in zip(axes, plots.items(), strict=True):
        for kind, curve in lines:
            draw_loss(axis, curve, colours[kind])
        axis.set_title(title, loc="left", fontsize=9, color=INK)
        axis.grid(color=FAINT, lw=0.6)
    figure.supxlabel("step of training", fontsize=9)
    figure.supylabel("training loss", fontsize=9)
    handles = [Line2D([], [], color=colour, lw=2, label=kind) for kind, colour in colours.items()]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), frameon=False, fontsize=9)
    return to_png(figure)


Curve = tuple[tuple[int, float], ...]


def _plots_of_curves(spec: FoldTableSpec, records: Sequence[FoldRecord]) -> Mapping[str, list[tuple[str, Curve]]]:
    """By title of a plot, what is trained and its curve."""
    plots: dict[str, list[tuple[str, Curve]]] = {}
    for row, title in spec.rows.items():
        for record in (record for record in records if record.row == row):
            kind = record.structures[0] if len(record.structures) == 1 else "several structures at once"
            if record.curve:
                plots.setdefault(title, []).append((kind, record.curve))
            if record.subtyping_curve:
                plots.setdefault(f"{title}: classes of nuclei", []).append(
                    ("classes of nuclei", record.subtyping_curve)
                )
    return plots
