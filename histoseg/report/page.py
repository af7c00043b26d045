"""The report of a table of new tasks: Markdown, CSV, PNG figures and one web page that holds everything."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from histoseg.report import figures, results
from histoseg.report.cells import Cell, TableSpec, collect_cells
from histoseg.report.frame import Frame, list_omissions, show_figure, to_page, write_files
from histoseg.report.panels import ReadBytes, draw_panels
from histoseg.report.records import Address, Record
from histoseg.report.tables import to_csv, to_markdown


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that a report says.

    Attributes:
        records: What is finished, in any order.
        read: Gives the stored picture of a key; called for panels only.
        missing: Why a cell has no record, where that is known.
    """

    frame: Frame
    spec: TableSpec
    records: Sequence[Record]
    read: ReadBytes
    missing: Mapping[Address, str] = field(default_factory=dict)

    @cached_property
    def cells(self) -> dict[Address, Cell]:
        """Every cell of the table."""
        return collect_cells(self.spec, self.records, self.missing)

    @property
    def markdown(self) -> str:
        """The table as Markdown."""
        return to_markdown(self.spec, self.cells)


def write(folder: Path, report: Report) -> Path:
    """Write `<stem>.md`, `<stem>.csv`, `<stem>-<figure>.png` and `index.html`; return the path of the page.

    Raises:
        DataError: If records contradict each other or a stored picture cannot be decoded.
    """
    images = draw_figures(report)
    texts = {"md": report.markdown, "csv": to_csv(report.cells)}
    return write_files(folder, report.frame.stem, texts, images, to_html(report, images))


def draw_figures(report: Report) -> dict[str, bytes]:
    """PNG files by name; what no record has anything to show for is left out."""
    if not report.records:
        return {}
    drawn = {
        "comparison": figures.draw_comparison(report.spec, report.cells),
        "panels": draw_panels(report.spec, report.cells, report.read),
        "refinement": figures.draw_refinement(report.spec, report.records),
        "pretraining": figures.draw_pretraining(report.spec, report.records),
    }
    return {name: png for name, png in drawn.items() if png is not None}


def to_html(report: Report, images: Mapping[str, bytes]) -> str:
    """The page, with those of its figures that are given."""
    sections = [
        ("table", "Results", results.describe_cells(report.spec, report.cells)),
        ("comparison", "Cell by cell", _comparison(report, images)),
        ("panels", "Image, annotation, prediction", show_figure(images, "panels", PANELS_ALT, PANELS_CAPTION)),
        ("curves", "How training went", _curves(images)),
        ("classes", "Class by class", results.describe_classes(report.spec, report.cells)),
        ("averages", "Three ways to average", results.describe_averages(report.spec, report.cells)),
        ("omissions", "What was left out, and why", _omissions(report)),
    ]
    num_finished = sum(bool(cell.records) for cell in report.cells.values())
    finished = f"{num_finished} of {len(report.cells)} cells are finished"
    return to_page(report.frame, report.spec.title, finished, report.records, sections)


PANELS_ALT = (
    "For each new task one test image: the tissue, its annotation and what each method predicted, side by side."
)
PANELS_CAPTION = (
    "The first test image that every finished method shows, after the leftmost predecessor set that is finished. "
    "Colours are classes; background is left dark."
)


def _comparison(report: Report, images: Mapping[str, bytes]) -> str:
    means = [f"{report.spec.title_of(a)} {c.mean:.3f}" for a, c in report.cells.items() if not math.isnan(c.mean)]
    caption = (
        "Filled marks are the pooled mIoU of each cell, lines its 95 % bootstrap interval over test images"
        f"{', small dots single seeds' if any(c.sd is not None for c in report.cells.values()) else ''}. "
        f"{report.spec.paper_note}"
    )
    return show_figure(images, "comparison", f"Dot plot of mIoU by new task: {'; '.join(means)}.", caption.strip())


def _curves(images: Mapping[str, bytes]) -> str:
    refinement = show_figure(
        images,
        "refinement",
        "Validation mIoU over epochs of refining, one small plot for each cell of the table.",
        "Validation mIoU while refining on the new task; the dot is the epoch whose weights were tested. "
        "The test images play no part in that choice.",
    )
    pretraining = show_figure(
        images,
        "pretraining",
        "Training loss over steps of pretraining, one small plot for each predecessor set.",
        "Loss of pretraining as recorded (faint) and as its running mean. The two methods minimise different losses: "
        "compare shapes, not heights.",
    )
    return refinement + pretraining


def _omissions(report: Report) -> str:
    missing = {report.spec.title_of(a): cell.reason for a, cell in report.cells.items() if not cell.records}
    return list_omissions(report.frame, missing)
