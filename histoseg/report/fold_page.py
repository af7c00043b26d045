"""The report of a table over folds: Markdown, CSV, PNG figures and one web page that holds everything."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path

from histoseg.report import markup
from histoseg.report.cells import average
from histoseg.report.fold_figures import columns_of, draw_scores, draw_training
from histoseg.report.fold_panels import draw_fold_panels
from histoseg.report.fold_records import Division, FoldRecord
from histoseg.report.fold_spec import FoldTableSpec, Place
from histoseg.report.fold_table import (
    OTSU,
    FoldTable,
    Number,
    collect_numbers,
    explain,
    name_division,
    say_finished,
    summarise,
)
from histoseg.report.fold_text import format_paper, format_spread, row_title, to_csv, to_markdown
from histoseg.report.frame import Frame, list_omissions, show_figure, to_page, write_files
from histoseg.report.panels import ReadBytes
from histoseg.report.tables import MISSING, format_score

PER_CLASS = {"ap_per_class": "average precision", "f1_per_class": "F1"}


@dataclass(frozen=True, kw_only=True)
class FoldReport:
    """All that a report of a table over folds says.

    Attributes:
        records: What is finished, in any order.
        read: Gives the stored picture of a key; called for panels only.
        planned: The divisions that each row is to be trained on.
        missing: Why a number cannot be had, where that is known.
        model: The folder beside the page that holds a network to predict with; empty if there is none.
    """

    frame: Frame
    spec: FoldTableSpec
    records: Sequence[FoldRecord]
    read: ReadBytes
    planned: Mapping[str, Sequence[Division]] = field(default_factory=dict)
    missing: Mapping[Place, str] = field(default_factory=dict)
    model: str = ""

    @cached_property
    def table(self) -> FoldTable:
        """Every number."""
        return collect_numbers(self.spec, self.records, self.planned, self.missing)

    @property
    def markdown(self) -> str:
        """The table as Markdown."""
        return to_markdown(self.table)


def write(folder: Path, report: FoldReport) -> Path:
    """Write `<stem>.md`, `<stem>.csv`, `<stem>-<figure>.png` and `index.html`; return the path of the page.

    Raises:
        DataError: If records contradict each other or a stored picture cannot be decoded.
    """
    images = draw_figures(report)
    texts = {"md": report.markdown, "csv": to_csv(report.table)}
    return write_files(folder, report.frame.stem, texts, images, to_html(report, images))


def draw_figures(report: FoldReport) -> dict[str, bytes]:
    """PNG files by name; what no record has anything to show for, or a table of one row says as well, is left out."""
    if not report.records:
        return {}
    compared = columns_of(report.spec) if len(report.spec.rows) > 1 else ()
    scores = {f"scores-{structure}": draw_scores(report.table, structure) for structure in compared}
    others = {
        "panels": draw_fold_panels(report.spec, report.records, report.read),
        "training": draw_training(report.spec, report.records),
    }
    return scores | {name: png for name, png in others.items() if png is not None}


def to_html(report: FoldReport, images: Mapping[str, bytes]) -> str:
    """The page, with those of its figures that are given."""
    sections = [
        ("table", "Results", _tables(report.table)),
        ("scores", "Division by division", _scores(report.table, images)),
        ("panels", "Image, annotation, prediction", show_figure(images, "panels", PANELS_ALT, PANELS_CAPTION)),
        ("training", "How training went", show_figure(images, "training", TRAINING_ALT, TRAINING_CAPTION)),
        ("notes", "What to know", markup.bullets(report.spec.notes) if report.spec.notes else ""),
        ("classes", "Class by class", _classes(report)),
        ("models", "Where the networks lie", _models(report)),
        ("omissions", "What was left out, and why", _omissions(report)),
    ]
    return to_page(report.frame, report.spec.title, say_finished(report.table), report.records, sections)


PANELS_ALT = "For each structure one test image: the tissue, its annotation and what networks predicted, side by side."
PANELS_CAPTION = (
    "The first test image of each structure that most rows of the table show, as predicted by some of them. Yellow "
    "lines run along the inside of each object's border; PQ is that of this image alone."
)
TRAINING_ALT = "Training loss over steps, one small plot for each row of the table."
TRAINING_CAPTION = (
    "Loss of training as recorded (faint) and as its running mean, one line for each network. Rows differ in what "
    "their loss counts: compare shapes, not heights."
)
SCORES_CAPTION = "Large dots are means over divisions and seeds, small dots single divisions."
OTSU_CAPTION = " Otsu's threshold is what a program scores that has learned nothing."


def _tables(table: FoldTable) -> str:
    blocks = "".join(_block(table, block, columns) for block, columns in table.spec.blocks.items())
    return blocks + markup.bullets([*summarise(table), *explain(table)])


def _block(table: FoldTable, title: str, columns: Mapping[str, str]) -> str:
    heads = "".join(f'<th scope="col">{escape(text)}</th>' for text in ("Trained as", *columns.values()))
    rows = [
        [
            markup.row_head(row_title(table, row)),
            *(_number(table, table.numbers[Place(row, column)]) for column in columns),
        ]
        for row in table.spec.rows
    ]
    if any(column in table.otsu for column in columns):
        scores = (format_score(table.otsu[column]) if column in table.otsu else "" for column in columns)
        rows.append([markup.row_head(OTSU), *(markup.cell(score, "none") for score in scores)])
    return markup.framed_table(title, f"<tr>{heads}</tr>", rows, "matrix")


def _number(table: FoldTable, number: Number) -> str:
    row, column = number.place
    if row in table.spec.paper_only:
        return markup.empty_cell("", "", [format_paper(number) or MISSING])
    if number.reason:
        return markup.empty_cell(MISSING, number.reason, [format_paper(number)])
    below = [format_spread(number), format_paper(number)]
    return markup.score_cell(format_score(number.mean), below, is_best=row in table.best_rows(column))


def _scores(table: FoldTable, images: Mapping[str, bytes]) -> str:
    return "".join(
        show_figure(
            images,
            f"scores-{structure}",
            _scores_alt(table, structure, columns),
            SCORES_CAPTION + (OTSU_CAPTION if table.otsu.keys() & set(columns) else ""),
        )
        for structure, columns in columns_of(table.spec).items()
    )


def _scores_alt(table: FoldTable, structure: str, columns: Sequence[str]) -> str:
    known = [number for number in table.own_numbers if number.place.column in columns and not number.reason]
    means = "; ".join(f"{table.spec.title_of(number.place)} {number.mean:.3f}" for number in known)
    return f"Dot plots of the scores of {structure} by row of the table: {means or 'nothing is finished'}."


def _classes(report: FoldReport) -> str:
    """A table for each score that is known by class: rows of the table by classes."""
    columns = dict.fromkeys(column for record in report.records for column in record.per_class)
    shown = {column.split(".")[1] for column in report.spec.columns}
    return "".join(_classes_of_column(report, column) for column in columns if column.split(".")[1] in shown)


def _classes_of_column(report: FoldReport, column: str) -> str:
    split, structure, score = column.split(".")
    found = [record for record in report.records if column in record.per_class]
    num_classes = max(len(record.per_class[column]) for record in found)
    names = found[0].classes.get(structure) or [f"class {i}" for i in range(num_classes)]
    rows = []
    for row, title in report.spec.rows.items():
        lists = [record.per_class[column] for record in found if record.row == row]
        means = [average(score for score in scores if not math.isnan(score)) for scores in zip(*lists, strict=True)]
        if lists:
            rows.append([markup.row_head(title), *(markup.cell(format_score(mean), "number") for mean in means)])
    caption = f"{structure.capitalize()}: {PER_CLASS.get(score, score)} of each class, {_block_of(report.spec, split)}"
    return markup.table(f"{caption}, mean over divisions", ["Trained as", *names], rows, num_texts=1)


def _block_of(spec: FoldTableSpec, split: str) -> str:
    titles = {column.split(".")[0]: block for block, columns in spec.blocks.items() for column in columns}
    return titles.get(split, split).lower()


def _models(report: FoldReport) -> str:
    """Where to find the network of each run, and how to use the one that lies beside the page."""
    if not report.records:
        return ""
    rows = [
        [
            markup.row_head(report.spec.rows[record.row]),
            markup.cell(", ".join(record.structures)),
            markup.cell(name_division(record.division)),
            f"<td><code>{escape(record.model_folder)}</code></td>",
        ]
        for record in in_order(report.spec, report.records)
    ]
    heads = ["Trained as", "Structures", "Division", "Folder in the store"]
    listed = markup.table("The network of every finished run", heads, rows)
    kept = _say_how_to_use(report.model) if report.model else ""
    return kept + (listed if len(rows) <= 3 else markup.folded("Every network", listed))


def _say_how_to_use(model: str) -> str:
    command = f"histoseg predict IMAGE --model {model} --out predictions"
    return markup.paragraph(
        f"The network of the first division and seed lies in {model}. To see what it finds in an image of your own:"
    ) + (f"<pre><code>{escape(command)}</code></pre>\n")


def in_order(spec: FoldTableSpec, records: Sequence[FoldRecord]) -> list[FoldRecord]:
    """Records as their rows are printed, divisions in order."""
    rows = list(spec.rows)
    return sorted(records, key=lambda record: (rows.index(record.row), record.structures, record.division))


def _omissions(report: FoldReport) -> str:
    missing = {report.spec.title_of(n.place): n.reason for n in report.table.own_numbers if n.reason}
    return list_omissions(report.frame, missing)
