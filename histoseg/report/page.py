"""The report of a table: Markdown, CSV, PNG figures and one web page that holds everything.

The page is made for two readers: a pathologist, who must see at once whether the numbers are of tissue, and a
researcher, who must be able to check and repeat each of them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from histoseg.records.schema import Record
from histoseg.report.cell import average
from histoseg.report.curves import draw_losses, draw_validation
from histoseg.report.figures import draw_scores, score_figures
from histoseg.report.html import render
from histoseg.report.origin import Note, describe_origin, say_origin
from histoseg.report.panels import ReadBytes, draw_panels
from histoseg.report.section import Listing, Picture, Section
from histoseg.report.sentences import explain, finished, summarise
from histoseg.report.table import Table
from histoseg.report.text import format_score, grids, to_csv, to_markdown
from histoseg.store.objects import FileStore

PANELS = (
    "For each subject one scored image: the tissue, its annotation and what runs predicted, side by side.",
    "The first scored image that most runs show, and what some of them predicted. Filled colours are classes; lines "
    "run along the inside of each object's border. A score is that of this image alone.",
)
VALIDATION = (
    "Validation score over the steps of training, one small plot for each row and group of columns.",
    "Validation score while training; the dot is the step whose weights were kept. The images that are scored in the "
    "table play no part in that choice.",
)
LOSSES = (
    "Training loss over steps, one small plot for each kind of training.",
    "Loss of training as recorded (faint) and as its running mean. Trainings differ in what their loss counts: compare "
    "shapes, not heights.",
)


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that a report says.

    Attributes:
        stem: File name of table and figures, without extension.
        omissions: What was left out and why, one sentence each.
        notes: What reading the files of each source left out or changed, and how often.
        model: The folder that holds a network to predict with; empty if there is none.
    """

    stem: str
    command: str
    omissions: Sequence[str] = ()
    notes: Sequence[Note] = ()
    table: Table
    read: ReadBytes
    model: str = ""


def write(folder: Path, report: Report) -> Path:
    """Write `<stem>.md`, `<stem>.csv`, `<stem>-<figure>.png` and `index.html`; return the path of the page.

    Each file appears only when it is whole, and the page last.
    """
    store, sections = FileStore(folder), to_sections(report)
    for picture in (picture for section in sections for picture in section.pictures):
        store.put(f"{report.stem}-{picture.name}.png", picture.png)
    store.put(f"{report.stem}.md", to_markdown(report.table).encode())
    store.put(f"{report.stem}.csv", to_csv(report.table).encode())
    store.put("index.html", to_html(report.table, sections).encode())
    return folder / "index.html"


def to_html(table: Table, sections: Sequence[Section]) -> str:
    """The page; sections without content are left out."""
    scales = ", ".join(sorted({record.scale for record in table.records}))
    lead = f"{finished(table)}, at the {scales} scale." if scales else f"{finished(table)}."
    return render(table.spec.title, lead, say_origin(table.records), sections)


def to_sections(report: Report) -> list[Section]:
    """The parts of the page, from the results to the command that gives them again."""
    table = report.table
    panels = draw_panels(table, report.read)
    curves = [
        *_picture("validation", draw_validation(table), VALIDATION),
        *_picture("losses", draw_losses(table), LOSSES),
    ]
    return [
        Section(name="table", heading="Results", grids=grids(table), bullets=[*summarise(table), *explain(table)]),
        Section(name="scores", heading="Cell by cell", pictures=_score_pictures(table)),
        Section(name="panels", heading="Image, annotation, prediction", pictures=_picture("panels", panels, PANELS)),
        Section(name="training", heading="How training went", pictures=curves),
        Section(name="notes", heading="What to know", bullets=table.spec.notes),
        Section(name="classes", heading="Class by class", listings=list(_class_listings(table))),
        *(make(table) for make in table.spec.sections),
        _models(report),
        _omissions(report),
        describe_origin(table, report.notes),
        Section(name="reproduce", heading="How to get them again", code=report.command),
    ]


def _picture(name: str, png: bytes | None, texts: tuple[str, str]) -> list[Picture]:
    """The picture with its alternative text and caption; none if it was not drawn."""
    return [] if png is None else [Picture(name=name, png=png, alt=texts[0], caption=texts[1])]


def _score_pictures(table: Table) -> list[Picture]:
    """The figures of scores; a table of one row says as much without them."""
    spec = table.spec
    if not table.records or (spec.compared == "rows" and len(spec.rows) == 1):
        return []
    spread = ", small dots single replicates"
    if spec.x_axis is not None:
        band = f", bands the {spec.x_axis.confidence:.0%} confidence interval of the mean (Student's t)"
        spread = band if spec.x_axis.confidence else ", bars their standard deviation"
    has_spread = any(cell.sd is not None for cell in table.own_cells)
    interval = f", lines the {spec.interval.meaning}" if spec.interval else ""
    caption = f"Large marks are means over {spec.replicates}{spread if has_spread else ''}{interval}."
    if spec.baseline is not None:
        caption += f" {spec.baseline.meaning}"
    columns = score_figures(table)
    return [
        Picture(name=name, png=png, alt=_scores_alt(table, columns[name]), caption=caption)
        for name, png in draw_scores(table).items()
    ]


def _scores_alt(table: Table, columns: Sequence[str]) -> str:
    cells = {key: cell for key, cell in table.cells.items() if cell.column in columns and not cell.reason}
    means = "; ".join(f"{table.spec.title_of(key)} {cell.mean:.3f}" for key, cell in cells.items())
    return f"Plot of {table.spec.score_title} by row and column of the table: {means or 'nothing is finished'}."


def _class_listings(table: Table) -> Iterator[Listing]:
    """A table for each score of single classes, and for each row of the table where runs differ by column."""
    spec = table.spec
    found: dict[tuple[str, str], list[Record]] = {}
    for name, record in ((name, record) for name in spec.class_scores for record in table.records):
        if name in record.per_class:
            found.setdefault((spec.rows[record.row] if record.column else "", name), []).append(record)
    for (row, name), records in found.items():
        classes = list(dict.fromkeys(key for record in records for key in record.per_class[name]))
        places: dict[str, list[Record]] = {}
        for record in records:
            title, columns = spec.place_of(record)
            places.setdefault(columns if row else title, []).append(record)
        scores = {place: [_class_mean(group, name, key) for key in classes] for place, group in places.items()}
        caption = f"{spec.class_scores[name]} of each class, mean over {spec.replicates}"
        yield Listing(
            caption=f"{row}: {caption}" if row else caption,
            heads=("Column" if row else spec.row_name, *classes),
            kinds=("head", *("number",) * len(classes)),
            rows=[(place, *map(format_score, means)) for place, means in scores.items()],
        )


def _class_mean(records: Sequence[Record], name: str, key: str) -> float:
    scores = (record.per_class[name].get(key, math.nan) for record in records)
    return average(score for score in scores if not math.isnan(score))


def _models(report: Report) -> Section:
    """Where the network of each run lies, and how to use the one that lies beside the page."""
    table = report.table
    rows = [(*table.spec.place_of(one), one.replicate, one.model) for one in table.records if one.model]
    listing = Listing(
        summary="Every network" if len(rows) > 3 else "",
        caption="The network of every finished run",
        heads=(table.spec.row_name, table.spec.column_name, "Replicate", "Folder in the store"),
        kinds=("head", "text", "text", "code"),
        rows=rows,
    )
    text = f"The first network lies in {report.model}. To see what it finds in an image:"
    return Section(
        name="models",
        heading="Where the networks lie",
        paragraphs=[text] if report.model else [],
        code=f"histoseg segment IMAGE --model {report.model} --out predictions" if report.model else "",
        listings=[listing] if rows else [],
    )


def _omissions(report: Report) -> Section:
    """What was left out and why: cells without a result are grouped by their reason."""
    reasons: dict[str, list[str]] = {}
    for cell in report.table.own_cells:
        if cell.reason:
            reasons.setdefault(cell.reason, []).append(report.table.spec.title_of((cell.row, cell.column)))
    lines = [*report.omissions, *(f"{reason}: {'; '.join(titles)}." for reason, titles in reasons.items())]
    nothing = [] if lines else ["Nothing: every cell of the table has a result."]
    return Section(name="omissions", heading="What was left out, and why", paragraphs=nothing, bullets=lines)
