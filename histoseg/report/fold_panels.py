"""One test image of each structure, as seen, as annotated and as rows of a table over folds predicted it."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure, SubFigure

from histoseg.report.drawing import INK, to_png
from histoseg.report.fold_records import FoldPanel, FoldRecord
from histoseg.report.fold_spec import FoldTableSpec
from histoseg.report.panels import ReadBytes, decode_png, show, shrink

ROWS_SHOWN = 4
PICTURES_A_LINE, WIDTH = 3, 3.6  # Inches
Shown = list[tuple[FoldRecord, FoldPanel]]
Picture = UInt8[np.ndarray, "H W 3"]


def draw_fold_panels(spec: FoldTableSpec, records: Sequence[FoldRecord], read: ReadBytes) -> bytes | None:
    """For each structure one test image: the image, its truth, and what some rows predicted.

    Of the images that most rows show it is the first. Of those rows, the first and the last are shown and others
    evenly between them, leaving out rows that come from the same training.

    Returns:
        The figure, or None if no record has panels.

    Raises:
        DataError: If a stored picture cannot be decoded.
    """
    known = {panel.structure for record in records for panel in record.panels}
    structures = [s for s in dict.fromkeys(column.split(".")[1] for column in spec.columns) if s in known]
    chosen = {structure: choose_panels(spec, records, structure) for structure in structures}
    if not chosen:
        return None
    pictures = {structure: _read_pictures(spec, shown, read) for structure, shown in chosen.items()}
    heights = [_height(list(titled.values())) for titled in pictures.values()]
    figure = Figure(figsize=(PICTURES_A_LINE * WIDTH, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(chosen), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, (structure, titled) in zip(parts, pictures.items(), strict=True):
        _draw_structure(part, titled)
        record, panel = chosen[structure][0]
        title = f"{structure.capitalize()} · {panel.source} · {panel.pictures.key} · {record.division.test}"
        part.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)
    return to_png(figure)


def choose_panels(spec: FoldTableSpec, records: Sequence[FoldRecord], structure: str) -> Shown:
    """The panels to show of a structure, all of one image."""
    rows = list(spec.rows)
    by_image: dict[tuple[str, str], dict[str, tuple[FoldRecord, FoldPanel]]] = {}
    for record in sorted(records, key=lambda record: (record.division, rows.index(record.row))):
        for panel in (panel for panel in record.panels if panel.structure == structure):
            shown = by_image.setdefault((panel.source, panel.pictures.key), {})
            if all(other.header.pretraining != record.header.pretraining for other, _ in shown.values()):
                shown.setdefault(record.row, (record, panel))
    most = max(by_image.values(), key=len)
    return _spread_out([most[row] for row in rows if row in most])


def _spread_out(shown: Shown) -> Shown:
    if len(shown) <= ROWS_SHOWN:
        return shown
    return [shown[round(i * (len(shown) - 1) / (ROWS_SHOWN - 1))] for i in range(ROWS_SHOWN)]


def _read_pictures(spec: FoldTableSpec, shown: Shown, read: ReadBytes) -> dict[str, Picture]:
    """What to show of a structure, by title."""
    first = shown[0][1].pictures
    keys = {"image": first.image, "truth": first.truth}
    keys |= {_title(spec, record, panel): panel.pictures.prediction for record, panel in shown}
    return {title: shrink(decode_png(read(key), key), cv2.INTER_AREA) for title, key in keys.items()}


def _num_lines(pictures: Sequence[Picture]) -> int:
    return -(-len(pictures) // PICTURES_A_LINE)


def _height(pictures: Sequence[Picture]) -> float:
    """Inches, with room for titles."""
    tallest: float = max(picture.shape[0] / picture.shape[1] for picture in pictures)
    return 0.4 + _num_lines(pictures) * (0.35 + WIDTH * min(tallest, 1.2))


def _draw_structure(part: SubFigure, pictures: Mapping[str, Picture]) -> None:
    axes = part.subplots(_num_lines(list(pictures.values())), PICTURES_A_LINE).ravel()
    for axis, (title, picture) in zip(axes, pictures.items(), strict=False):
        show(axis, title, picture)
    for axis in axes[len(pictures) :]:
        axis.remove()


def _title(spec: FoldTableSpec, record: FoldRecord, panel: FoldPanel) -> str:
    """The row, and the PQ of this image."""
    place = (panel.structure, panel.source, panel.pictures.key)
    scores = [image.pq for image in record.images if (image.structure, image.source, image.key) == place]
    return f"{spec.rows[record.row]} · PQ {scores[0]:.2f}" if scores else spec.rows[record.row]
