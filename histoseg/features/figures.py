"""Features of a cohort as figures: how slides are distributed, and what tissue each consists of."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from histoseg.report import drawing

MAX_BARS = 60  # More do not fit beside each other with their names.
JITTER = 0.16  # Of the height of a plot
NUM_COLUMNS = 3


def draw_distributions(columns: Mapping[str, Float64[np.ndarray, " N"]], names: Sequence[str]) -> bytes:
    """A plot for each column: a dot for each slide over a box of the quartiles; the outermost slides are named."""
    sizes = drawing.sizes_of(len(columns), NUM_COLUMNS)
    figure, lines = drawing.lines_of_axes(sizes, (4.2, 1.35))
    axes = [axis for line in lines for axis in line]
    for axis, (title, values) in zip(axes, columns.items(), strict=True):
        _draw_strip(axis, values, names)
        axis.set_title(title, loc="left", fontsize=9, fontweight="bold", color=drawing.INK)
    return drawing.to_png(figure)


def _draw_strip(axis: Axes, values: Float64[np.ndarray, " N"], names: Sequence[str]) -> None:
    defined = np.flatnonzero(np.isfinite(values))
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    axis.set_ylim(-0.85, 0.4)
    axis.grid(axis="x", color=drawing.FAINT, lw=0.7)
    axis.margins(x=0.08)
    if not len(defined):
        axis.text(0.5, 0.5, "undefined for every slide", transform=axis.transAxes, ha="center", color=drawing.GREY)
        return
    shown = values[defined]
    low, middle, high = np.quantile(shown, (0.25, 0.5, 0.75))
    if len(defined) > 3:
        axis.fill_between([low, high], -0.3, 0.3, color=drawing.COLOURS[0], alpha=0.14, lw=0)
        axis.plot([middle, middle], [-0.3, 0.3], color=drawing.COLOURS[0], lw=2, solid_capstyle="butt")
    # Neighbours in order of value stand apart: three heights in turn, the same for the same slides.
    heights = np.empty(len(shown))
    heights[np.argsort(shown, kind="stable")] = (np.arange(len(shown)) % 3 - 1) * JITTER
    axis.plot(shown, heights, ls="none", marker="o", ms=5, mec="white", mew=0.6, color=drawing.COLOURS[0], alpha=0.85)
    if not np.isclose(shown.min(), shown.max()):
        for x, at in ((0.0, shown.argmin()), (1.0, shown.argmax())):
            name = _short(names[defined[at]])
            axis.text(
                x,
                0.2,
                name,
                ha="right" if x else "left",
                va="top",
                fontsize=7,
                color=drawing.GREY,
                transform=axis.transAxes,
            )


def draw_tissue(shares: Mapping[str, Float64[np.ndarray, " N"]], colours: Sequence[str], names: Sequence[str]) -> bytes:
    """A bar for each slide, made of the share of each class of tissue."""
    count = min(len(names), MAX_BARS)
    figure, [[axis]] = drawing.lines_of_axes([1], (9.5, 0.9 + 0.26 * count))
    drawing.lay_out_rows(axis, [_short(name) for name in names[:count]])
    axis.grid(visible=False)
    left = np.zeros(count)
    for values, colour in zip(shares.values(), colours, strict=True):
        widths = np.nan_to_num(values[:count])
        axis.barh(range(count), widths, left=left, color=colour, height=0.72, lw=0.6, ec="white")
        left += widths
    axis.set_xlim(0, 1)
    axis.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    handles = [Patch(color=colour, label=name) for name, colour in zip(shares, colours, strict=True)]
    figure.legend(handles=handles, loc="outside upper left", ncols=min(len(handles), 5), frameon=False, fontsize=8)
    return drawing.to_png(figure)


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"{name[:25]}…"
