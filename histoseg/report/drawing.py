"""What all figures share: colours, the look of axes, and the way to a PNG file.

Figures are drawn with Matplotlib's objects alone: `pyplot` keeps them alive in global state.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from histoseg.report.cells import TableSpec

INK, GREY, FAINT = "#22262b", "#767c84", "#d9dce0"
# From Okabe & Ito (2008), Color Universal Design: told apart under all common colour blindnesses.
METHOD_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
METHOD_MARKERS = ("o", "s", "^", "v")  # Shape tells methods apart in grey print.
DOTS_PER_INCH = 130  # Sharp on dense screens at the size a page shows it.


@dataclass(frozen=True, kw_only=True)
class MethodStyle:
    """How a method looks in every figure."""

    title: str
    colour: str
    marker: str


def method_styles(spec: TableSpec) -> dict[str, MethodStyle]:
    """The look of each method, by name."""
    return {
        method: MethodStyle(
            title=title,
            colour=METHOD_COLOURS[i % len(METHOD_COLOURS)],
            marker=METHOD_MARKERS[i % len(METHOD_MARKERS)],
        )
        for i, (method, title) in enumerate(spec.methods.items())
    }


def grid_of_axes(num_axes: int, num_columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A figure with so many axes in rows, each of that width and height in inches."""
    num_columns = min(num_columns, num_axes)
    num_rows = math.ceil(num_axes / num_columns)
    layout = ConstrainedLayoutEngine(h_pad=0.12, hspace=0.04)
    figure = Figure(figsize=(size[0] * num_columns, 0.5 + size[1] * num_rows), layout=layout)
    axes = list(figure.subplots(num_rows, num_columns, squeeze=False).ravel())
    for axis in axes[num_axes:]:
        axis.remove()
    for axis in axes[:num_axes]:
        strip(axis)
    return figure, axes[:num_axes]


def lay_out_rows(axis: Axes, titles: Sequence[str]) -> None:
    """Give each title a height of its own, from the top down, for dots beside it."""
    axis.set_yticks(range(len(titles)), titles)
    axis.set_ylim(len(titles) - 0.5, -0.5)
    axis.grid(axis="x", color=FAINT, lw=0.7)
    strip(axis)
    axis.tick_params(axis="y", length=0)


def draw_paper(axis: Axes, score: float, height: float) -> None:
    """The hollow diamond that stands for the paper's number."""
    axis.plot(score, height, marker="D", ms=6, mfc="none", mec=INK, mew=0.9, ls="none", zorder=2)


def paper_handle() -> Line2D:
    """What a legend shows of it."""
    return Line2D([], [], marker="D", color="none", mec=INK, mfc="none", label="the paper's number")


def draw_loss(axis: Axes, curve: Sequence[tuple[int, float]], colour: str) -> None:
    """A curve as it was recorded (faint), and its mean over a twentieth of it around each step."""
    steps, losses = zip(*curve, strict=True)
    reach = len(losses) // 40
    smooth = [float(np.mean(losses[max(0, i - reach) : i + reach + 1])) for i in range(len(losses))]
    axis.plot(steps, losses, color=colour, lw=0.8, alpha=0.3)
    axis.plot(steps, smooth, color=colour, lw=1.6)


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
