"""One test image per task, as seen, as annotated and as predicted: the figure a pathologist looks at first."""

from collections.abc import Callable, Iterable, Mapping

import cv2
import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

from histoseg.errors import DataError
from histoseg.maps.colours import CLASS_COLOURS, to_rgb
from histoseg.report.cells import Cell, TableSpec
from histoseg.report.drawing import GREY, INK, to_png
from histoseg.report.header import Panel
from histoseg.report.records import Address, Record
from histoseg.types import IGNORE

ReadBytes = Callable[[str], bytes]

BACKGROUND_COLOUR = "#16191d"  # Class 0 is left unpainted.
IGNORE_COLOUR = "#8a8f96"
PANEL_PX = 512  # Longer side of a shown image; more only makes the page heavy.


def draw_panels(spec: TableSpec, cells: Mapping[Address, Cell], read: ReadBytes) -> bytes | None:
    """One test image per new task, as in MetaHistoSeg, Fig. 2: image, truth, then what each method predicted.

    The image is the first that every finished method of the leftmost possible column shows.

    Returns:
        The figure, or None if no record has panels.

    Raises:
        DataError: If a stored picture cannot be decoded.
    """
    shown = {row: choice for row in spec.rows if (choice := _choose_panels(spec, cells, row))}
    if not shown:
        return None
    figure = Figure(figsize=(2.75 * (2 + len(spec.methods)), 3.4 * len(shown)), layout="constrained")
    for part, (row, choice) in zip(figure.subfigures(len(shown), 1, squeeze=False)[:, 0], shown.items(), strict=True):
        _draw_row(part, spec, row, choice, read)
    return to_png(figure)


def _draw_row(
    part: SubFigure, spec: TableSpec, row: str, choice: Mapping[str, tuple[Record, Panel]], read: ReadBytes
) -> None:
    record, first = next(iter(choice.values()))
    maps = {"truth": _read_map(read, first.truth)}
    maps |= {spec.methods[m]: _read_map(read, panel.prediction) for m, (_, panel) in choice.items()}
    axes = part.subplots(1, 2 + len(spec.methods))
    show(axes[0], "image", shrink(decode_png(read(first.image), first.image), cv2.INTER_AREA))
    for axis, title in zip(axes[1:], ["truth", *spec.methods.values()], strict=True):
        show(axis, title, paint(shrink(maps[title], cv2.INTER_NEAREST)) if title in maps else None)
    part.suptitle(
        f"{spec.rows[row]} · after {spec.columns[record.address.column]} · {first.key}",
        x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK,
    )  # fmt: skip
    handles = _class_legend(record.classes, has_ignored=any((shown == IGNORE).any() for shown in maps.values()))
    part.legend(handles=handles, loc="outside lower left", ncols=8, frameon=False, fontsize=9)


def _choose_panels(spec: TableSpec, cells: Mapping[Address, Cell], row: str) -> dict[str, tuple[Record, Panel]]:
    """By method, the panel to show of a row; empty if there is none."""
    for column in spec.columns:
        by_method = {
            method: {panel.key: (cell.records[0], panel) for panel in cell.records[0].panels}
            for method in spec.methods
            if (cell := cells.get(Address(row, column, method))) and cell.records and cell.records[0].panels
        }
        for key in next(iter(by_method.values()), {}):
            if all(key in panels for panels in by_method.values()):
                return {method: panels[key] for method, panels in by_method.items()}
    return {}


def paint(semantic_map: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """The map in colour: class 0 dark, IGNORE grey, the palette repeating after its seventh colour."""
    palette = np.array([to_rgb(CLASS_COLOURS[(i - 1) % len(CLASS_COLOURS)]) for i in range(256)], np.uint8)
    palette[0], palette[IGNORE] = to_rgb(BACKGROUND_COLOUR), to_rgb(IGNORE_COLOUR)
    return np.asarray(palette[semantic_map])


def decode_png(body: bytes, key: str) -> UInt8[np.ndarray, "..."]:
    """The picture, RGB or of one channel.

    Raises:
        DataError: If these bytes are no 8-bit picture.
    """
    picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED) if body else None
    if picture is None or picture.dtype != np.uint8:
        raise DataError(f"{key}: {len(body)} bytes are no 8-bit PNG picture; evaluate the cell again")
    return np.asarray(picture if picture.ndim == 2 else cv2.cvtColor(picture[..., :3], cv2.COLOR_BGR2RGB))


def _read_map(read: ReadBytes, key: str) -> UInt8[np.ndarray, "H W"]:
    semantic_map = decode_png(read(key), key)
    if semantic_map.ndim != 2:
        raise DataError(f"{key}: a label map has one channel, this picture has {semantic_map.shape[2]}")
    return semantic_map


def shrink(picture: UInt8[np.ndarray, "..."], interpolation: int) -> UInt8[np.ndarray, "..."]:
    """The picture, its longer side at most PANEL_PX."""
    height, width = picture.shape[:2]
    factor = min(1.0, PANEL_PX / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(picture, size, interpolation=interpolation), np.uint8)


def show(axis: Axes, title: str, picture: UInt8[np.ndarray, "H W 3"] | None) -> None:
    """A picture under its title; None says that it is not finished."""
    axis.set_title(title, fontsize=9, color=INK)
    axis.set_axis_off()
    if picture is None:
        axis.text(0.5, 0.5, "not finished", ha="center", va="center", color=GREY)
        return
    axis.imshow(picture, interpolation="nearest")


def _class_legend(classes: Iterable[str], has_ignored: bool) -> list[Patch]:
    names = list(classes)
    colours = [BACKGROUND_COLOUR, *(CLASS_COLOURS[i % len(CLASS_COLOURS)] for i in range(len(names) - 1))]
    patches = [Patch(color=colour, label=name) for name, colour in zip(names, colours, strict=True)]
    return [*patches, Patch(color=IGNORE_COLOUR, label="not annotated")] if has_ignored else patches
