"""What all figures share: colours, the look of axes, and the way to a PNG file.

Figures are drawn with Matplotlib's objects alone: `pyplot` keeps them alive in global state.
"""

import io
import math
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from histoseg.reporting.cells import TableSpec

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
