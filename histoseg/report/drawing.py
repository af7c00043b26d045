"""What all figures share: colours, the look of axes, and how a figure becomes a PNG file.

Figures are drawn with Matplotlib's objects alone: `pyplot` keeps them alive in global state.
"""

import io
from collections.abc import Iterable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

INK, GREY, FAINT = "#22262b", "#767c84", "#d9dce0"
# Okabe & Ito (2008), Color Universal Design: they differ under all common kinds of colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "v", "P", "X")  # They differ in grey print.
DOTS_PER_INCH = 130  # Sharp on dense screens at the size a page shows it.


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, the palette repeating."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(dict.fromkeys(names))}


def lines_of_axes(sizes: Sequence[int], size: tuple[float, float]) -> tuple[Figure, list[list[Axes]]]:
    """A figure with that many axes in each line, each of that width and height in inches."""
    num_columns = max(sizes)
    layout = ConstrainedLayoutEngine(h_pad=0.12, hspace=0.04)
    figure = Figure(figsize=(size[0] * num_columns, 0.5 + size[1] * len(sizes)), layout=layout)
    grid = figure.subplots(len(sizes), num_columns, squeeze=False)
    lines = []
    for row, num_axes in zip(grid, sizes, strict=True):
        for axis in row[num_axes:]:
            axis.remove()
        lines.append(list(row[:num_axes]))
        for axis in lines[-1]:
            strip(axis)
    return figure, lines


def sizes_of(num_axes: int, num_columns: int) -> list[int]:
    """How many axes each line has, if so many stand in a line."""
    return [min(num_columns, num_axes - start) for start in range(0, num_axes, num_columns)]


def lay_out_rows(axis: Axes, titles: Sequence[str]) -> None:
    """Give each title a height of its own, from the top down, for dots beside it."""
    axis.set_yticks(range(len(titles)), titles)
    axis.set_ylim(len(titles) - 0.5, -0.5)
    axis.grid(axis="x", color=FAINT, lw=0.7)
    strip(axis)
    axis.tick_params(axis="y", length=0)


def draw_paper(axis: Axes, x: float, y: float) -> None:
    """The hollow diamond that stands for the published number."""
    axis.plot(x, y, marker="D", ms=6, mfc="none", mec=INK, mew=0.9, ls="none", zorder=2)


def paper_handle() -> Line2D:
    """What a legend shows of it."""
    return Line2D([], [], marker="D", color="none", mec=INK, mfc="none", label="the paper's number")


def add_line_legend(figure: Figure, colours: Mapping[str, str]) -> None:
    """Say which colour each line has, in as many columns as the figure is wide enough for."""
    handles = [Line2D([], [], color=colour, lw=2, label=title) for title, colour in colours.items()]
    for ncols in range(len(handles), 0, -1):
        legend = figure.legend(handles=handles, loc="outside upper right", ncols=ncols, frameon=False, fontsize=9)
        if ncols == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()


def strip(axis: Axes) -> None:
    """Leave only the lines that carry meaning."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(FAINT)
    axis.tick_params(labelsize=8, color=FAINT, labelcolor=INK)


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG file, the same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
