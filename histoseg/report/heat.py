"""Heat maps of the same rows and columns, one below another: numbers, coloured by their order within each row."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from scipy.stats import rankdata

from histoseg.report import drawing
from histoseg.report.cell import CellKey

COLOURS = colormaps["Blues"]
DARK = 0.6  # Of the colours: above, white is easier to read than black.


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """A number for each row and column, as far as there is one; `rising` if more of it is better."""

    title: str
    numbers: Mapping[CellKey, float]
    rising: bool = True


def draw_heat_maps(maps: Sequence[HeatMap], rows: Mapping[str, str], columns: Mapping[str, str]) -> bytes:
    """A PNG file. Rows and columns go from their name to their title; the best of each row is the darkest."""
    size = (2.4 + 0.62 * len(columns), 0.75 + 0.3 * len(rows))
    figure, lines = drawing.lines_of_axes([1] * len(maps), size)
    for (axis,), one in zip(lines, maps, strict=True):
        _draw(axis, one, list(rows), list(columns))
        axis.set_yticks(range(len(rows)), list(rows.values()))
        axis.set_title(one.title, loc="left", fontsize=10, fontweight="bold", color=drawing.INK)
        axis.set_xticks(range(len(columns)), [])
    lines[-1][0].set_xticks(
        range(len(columns)), list(columns.values()), rotation=40, ha="right", rotation_mode="anchor"
    )
    figure.set_size_inches(size[0], figure.get_size_inches()[1] + 1.0)  # For the titles of the columns
    return drawing.to_png(figure)


def _draw(axis: Axes, one: HeatMap, rows: Sequence[str], columns: Sequence[str]) -> None:
    numbers = np.array([[one.numbers.get((row, column), math.nan) for column in columns] for row in rows])
    shades = np.stack([shades_of(line if one.rising else -line) for line in numbers])
    axis.imshow(shades, cmap=COLOURS, vmin=0, vmax=1, aspect="auto")
    axis.set_facecolor(drawing.FAINT)  # Where there is no number
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    for (y, x), number in np.ndenumerate(numbers):
        if not math.isnan(number):
            colour = "white" if shades[y, x] > DARK else drawing.INK
            axis.text(x, y, f"{number:.3f}", ha="center", va="center", fontsize=7, color=colour)


def shades_of(numbers: np.ndarray) -> np.ndarray:
    """Of each number of a row its rank among them, from 0 to 1; nan stays nan, and a single number is in the middle."""
    shades, known = np.full(len(numbers), math.nan), ~np.isnan(numbers)
    count = int(known.sum())
    shades[known] = (rankdata(numbers[known]) - 1) / (count - 1) if count > 1 else 0.5
    return shades
