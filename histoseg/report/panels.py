"""Scored images as seen, as annotated and as predicted: the figure a pathologist looks at first."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

from histoseg.errors import DataError
from histoseg.records.schema import Panel, Record
from histoseg.report.drawing import INK, to_png
from histoseg.report.layout import natural
from histoseg.report.table import Table

ReadBytes = Callable[[str], bytes]
Picture = UInt8[np.ndarray, "H W 3"]

PREDICTIONS_SHOWN = 4
WIDTH = 11.0  # Inches


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What one run predicted on the image that is shown; `title` is the run's column, or its row without a column."""

    title: str
    record: Record
    panel: Panel


def draw_panels(table: Table, read: ReadBytes) -> bytes | None:
    """One image, its truth and predictions for each row (each structure, if rows are compared); None without panels."""
    chosen = choose_panels(table)
    if not chosen:
        return None
    pictures = [_read_pictures(predictions, read) for predictions in chosen.values()]
    heights = [_height(list(titled.values())) for titled in pictures]
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(chosen), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, (subject, predictions), titled in zip(parts, chosen.items(), pictures, strict=True):
        _draw_pictures(part, titled)
        first = predictions[0]
        group = table.spec.group_of(first.record.column) if first.record.column else ""
        words = (subject, group, first.panel.source, first.panel.key, first.record.replicate)
        part.suptitle(" · ".join(filter(None, words)), x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)
        if legend := {name: colour for one in predictions for name, colour in one.panel.legend.items()}:
            patches = [Patch(color=colour, label=name) for name, colour in legend.items()]
            part.legend(handles=patches, loc="outside lower left", ncols=8, frameon=False, fontsize=9)
    return to_png(figure)


def choose_panels(table: Table) -> dict[str, list[Prediction]]:
    """The predictions to show of each row or structure of the table, all of one image: the first that most runs show.

    Of predictions that come from the same training only the first is shown; of more than PREDICTIONS_SHOWN, the first,
    the last and others evenly between them.
    """
    found: dict[str, dict[tuple[str, ...], dict[str, Prediction]]] = {}
    for record in sorted(table.records, key=lambda record: natural(record.replicate)):
        for panel in record.panels:
            subject, title = _subject(table, record, panel)
            group = table.spec.group_of(record.column) if record.column else ""
            shown = found.setdefault(subject, {}).setdefault((group, panel.source, panel.key), {})
            if all(other.record.stages[-1].stage != record.stages[-1].stage for other in shown.values()):
                shown.setdefault(title, Prediction(title=title, record=record, panel=panel))
    structures = [table.spec.structure(column).capitalize() for column in table.spec.columns]
    subjects = dict.fromkeys([*table.spec.rows.values(), *(structures if any(structures) else found)])
    return {
        subject: _spread_out(list(max(found[subject].values(), key=len).values()))
        for subject in subjects
        if subject in found
    }


def _subject(table: Table, record: Record, panel: Panel) -> tuple[str, str]:
    """Under which title a panel is shown, and the title of its prediction there."""
    spec = table.spec
    if record.column:
        return spec.rows[record.row], spec.columns[record.column]
    return panel.structure.capitalize(), spec.rows[record.row]


def _spread_out(shown: list[Prediction]) -> list[Prediction]:
    if len(shown) <= PREDICTIONS_SHOWN:
        return shown
    return [shown[round(i * (len(shown) - 1) / (PREDICTIONS_SHOWN - 1))] for i in range(PREDICTIONS_SHOWN)]


def _read_pictures(predictions: Sequence[Prediction], read: ReadBytes) -> dict[str, Picture]:
    """The pictures of one image, by title."""
    first = predictions[0].panel
    keys = {"image": first.image, "truth": first.truth}
    keys |= {_with_score(one): one.panel.prediction for one in predictions}
    return {title: decode_png(read(key), key) for title, key in keys.items()}


def _with_score(prediction: Prediction) -> str:
    """The title and the score of this image alone."""
    panel, title = prediction.panel, prediction.title
    if math.isnan(panel.score):
        return title
    objects = "classes right" if panel.legend else "PQ"
    return f"{title} · {objects if panel.structure else 'mIoU'} {panel.score:.2f}"


def decode_png(body: bytes, key: str) -> Picture:
    """The picture in RGB."""
    picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED) if body else None
    if picture is None or picture.dtype != np.uint8 or picture.ndim != 3:
        raise DataError(f"{key}: {len(body)} bytes are not an 8-bit RGB picture; evaluate the cell again")
    return np.asarray(cv2.cvtColor(picture[..., :3], cv2.COLOR_BGR2RGB), np.uint8)


def _per_line(num_pictures: int) -> int:
    return num_pictures if num_pictures <= 4 else 3


def _height(pictures: Sequence[Picture]) -> float:
    """Inches, with room for titles and a legend."""
    per_line = _per_line(len(pictures))
    tallest: float = max(picture.shape[0] / picture.shape[1] for picture in pictures)
    return 0.6 + math.ceil(len(pictures) / per_line) * (0.35 + WIDTH / per_line * min(tallest, 1.2))


def _draw_pictures(part: SubFigure, pictures: Mapping[str, Picture]) -> None:
    per_line = _per_line(len(pictures))
    axes = part.subplots(math.ceil(len(pictures) / per_line), per_line, squeeze=False).ravel()
    for axis, (title, picture) in zip(axes, pictures.items(), strict=False):
        axis.set_title(title, fontsize=9, color=INK)
        axis.set_axis_off()
        axis.imshow(picture, interpolation="nearest")
    for axis in axes[len(pictures) :]:
        axis.remove()
