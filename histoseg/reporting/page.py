"""The report of a table: Markdown, CSV, PNG figures and one web page that holds everything.

The page is made for two readers: a pathologist, who must see at once whether the numbers are of tissue, and a
researcher, who must be able to check and repeat each of them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path

from histoseg.reporting import figures, markup, provenance, results
from histoseg.reporting.cells import Cell, TableSpec, collect_cells
from histoseg.reporting.panels import ReadBytes, draw_panels
from histoseg.reporting.records import Address, Record
from histoseg.reporting.tables import to_csv, to_markdown
from histoseg.storage import FileStore


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that a report says.

    Attributes:
        stem: File name of table and figures, without extension.
        records: What is finished, in any order.
        read: Gives the stored picture of a key; called for panels only.
        command: What to run to get these results again.
        missing: Why a cell has no record, where that is known.
        omissions: What was left out and why, one sentence each.
    """

    stem: str
    spec: TableSpec
    records: Sequence[Record]
    read: ReadBytes
    command: str
    missing: Mapping[Address, str] = field(default_factory=dict)
    omissions: Sequence[str] = ()

    @cached_property
    def cells(self) -> dict[Address, Cell]:
        """Every cell of the table."""
        return collect_cells(self.spec, self.records, self.missing)


def write(folder: Path, report: Report) -> Path:
    """Write `<stem>.md`, `<stem>.csv`, `<stem>-<figure>.png` and `index.html`; return the path of the page.

    Each file appears only when it is whole, and the page last.

    Raises:
        DataError: If records contradict each other or a stored picture cannot be decoded.
    """
    images = draw_figures(report)
    store = FileStore(folder)
    for name, png in images.items():
        store.put(f"{report.stem}-{name}.png", png)
    store.put(f"{report.stem}.md", to_markdown(report.spec, report.cells).encode())
    store.put(f"{report.stem}.csv", to_csv(report.cells).encode())
    store.put("index.html", to_html(report, images).encode())
    return folder / "index.html"


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
    parts = [
        ("table", "Results", results.describe_cells(report.spec, report.cells)),
        ("comparison", "Cell by cell", _comparison(report, images)),
        ("panels", "Image, annotation, prediction", _figure(images, "panels", PANELS_ALT, PANELS_CAPTION)),
        ("curves", "How training went", _curves(images)),
        ("classes", "Class by class", results.describe_classes(report.spec, report.cells)),
        ("averages", "Three ways to average", results.describe_averages(report.spec, report.cells)),
        ("omissions", "What was left out, and why", _omissions(report)),
        ("provenance", "Where the numbers come from", provenance.describe(report.records)),
        ("reproduce", "How to get them again", f"<pre><code>{escape(report.command)}</code></pre>\n"),
    ]
    shown = [(name, title, body) for name, title, body in parts if body]
    links = "".join(f'<li><a href="#{name}">{escape(title)}</a></li>' for name, title, _ in shown)
    sections = "".join(markup.section(name, title, body) for name, title, body in shown)
    nav = f'<nav aria-label="On this page"><ul>{links}</ul></nav>\n'
    head = f"<header>\n<h1>{escape(report.spec.title)}</h1>\n{_statement(report)}{nav}</header>\n"
    return markup.document(report.spec.title, f"{head}<main>\n{sections}</main>")


def _statement(report: Report) -> str:
    scale = ", ".join(sorted({record.scale for record in report.records}))
    num_finished = sum(bool(cell.records) for cell in report.cells.values())
    size = f"{num_finished} of {len(report.cells)} cells are finished" + (f", at the {scale} scale." if scale else ".")
    return markup.paragraph(size, "lead") + markup.paragraph(provenance.say_origin(report.records), "notice")


PANELS_ALT = (
    "For each new task one test image: the tissue, its annotation and what each method predicted, side by side."
)
PANELS_CAPTION = (
    "The first test image that every finished method shows, after the leftmost predecessor set that is finished. "
    "Colours are classes; background is left dark."
)


def _figure(images: Mapping[str, bytes], name: str, alt: str, caption: str) -> str:
    return markup.picture(images[name], alt, caption) if name in images else ""


def _comparison(report: Report, images: Mapping[str, bytes]) -> str:
    means = [f"{report.spec.title_of(a)} {c.mean:.3f}" for a, c in report.cells.items() if not math.isnan(c.mean)]
    caption = (
        "Filled marks are the pooled mIoU of each cell, lines its 95 % bootstrap interval over test images"
        f"{', small dots single seeds' if any(c.sd is not None for c in report.cells.values()) else ''}. "
        f"{report.spec.paper_note}"
    )
    return _figure(images, "comparison", f"Dot plot of mIoU by new task: {'; '.join(means)}.", caption.strip())


def _curves(images: Mapping[str, bytes]) -> str:
    refinement = _figure(
        images,
        "refinement",
        "Validation mIoU over epochs of refining, one small plot for each cell of the table.",
        "Validation mIoU while refining on the new task; the dot is the epoch whose weights were tested. "
        "The test images play no part in that choice.",
    )
    pretraining = _figure(
        images,
        "pretraining",
        "Training loss over steps of pretraining, one small plot for each predecessor set.",
        "Loss of pretraining as recorded (faint) and as its running mean. The two methods minimise different losses: "
        "compare shapes, not heights.",
    )
    return refinement + pretraining


def _omissions(report: Report) -> str:
    reasons: dict[str, list[str]] = {}
    for address, cell in report.cells.items():
        if not cell.records:
            reasons.setdefault(cell.reason, []).append(report.spec.title_of(address))
    lines = [*report.omissions, *(f"{reason}: {'; '.join(titles)}." for reason, titles in reasons.items())]
    return markup.bullets(lines) if lines else markup.paragraph("Nothing: every cell of the table is finished.")
