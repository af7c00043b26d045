"""The numbers of a table over folds as text: Markdown for people, CSV for programs."""

from collections.abc import Iterator, Mapping

from histoseg.report.cells import NOT_FINISHED
from histoseg.report.fold_records import Division
from histoseg.report.fold_spec import Place
from histoseg.report.fold_table import OTSU, FoldTable, Number, explain, summarise
from histoseg.report.tables import HEADER_FIELDS, MISSING, format_score, header_fields, markdown_row, plain, to_lines

CSV_FIELDS = (
    *("row", "split", "structure", "score", "train", "test", "seed", "status", "value", "num_images"),
    *("paper_mean", "paper_sd", *HEADER_FIELDS),
)


def format_spread(number: Number) -> str:
    """What stands beside a mean: the standard deviation, and how much is there of an unfinished number."""
    spread = "" if number.sd is None else f"± {number.sd:.3f}"
    part = "" if number.is_finished else f"({len(number.records)} of {len(number.planned)})"
    return " ".join(filter(None, [spread, part]))


def format_paper(number: Number) -> str:
    """The paper's number, or nothing if there is none."""
    return "" if number.paper is None else f"paper {number.paper[0]:.3f} ± {number.paper[1]:.3f}"


def row_title(table: FoldTable, row: str) -> str:
    """What a row is called."""
    return table.spec.rows[row] + (" (paper only)" if row in table.spec.paper_only else "")


def to_markdown(table: FoldTable) -> str:
    """A table for each block of columns, with what explains them below."""
    lines = [f"# {table.spec.title}"]
    for block, columns in table.spec.blocks.items():
        lines += ["", f"## {block}", "", *_block(table, columns)]
    texts = [*summarise(table), *explain(table), *table.spec.notes]
    return "\n".join([*lines, "", *(f"- {text}" for text in texts), ""])


def _block(table: FoldTable, columns: Mapping[str, str]) -> Iterator[str]:
    yield markdown_row(["", *columns.values()])
    yield markdown_row(["---"] * (1 + len(columns)))
    for row in table.spec.rows:
        texts = [_number_text(table, table.numbers[Place(row, column)]) for column in columns]
        yield markdown_row([f"**{row_title(table, row)}**", *texts])
    if any(column in table.otsu for column in columns):
        yield markdown_row([OTSU, *(f"{table.otsu[c]:.3f}" if c in table.otsu else "" for c in columns)])


def _number_text(table: FoldTable, number: Number) -> str:
    row, column = number.place
    paper = format_paper(number)
    if row in table.spec.paper_only:
        return paper or MISSING
    if number.reason:
        return "<br>".join(filter(None, [MISSING, number.reason, paper]))
    mean = format_score(number.mean)
    best = f"**{mean}**" if row in table.best_rows(column) else mean
    return "<br>".join(filter(None, [" ".join(filter(None, [best, format_spread(number)])), paper]))


def to_csv(table: FoldTable) -> str:
    """One line per row, column and division; a number that cannot be had has one line, whose status is the reason."""
    return to_lines(CSV_FIELDS, (line for number in table.numbers.values() for line in _csv_lines(number)))


def _csv_lines(number: Number) -> Iterator[dict[str, object]]:
    split, structure, score = number.place.column.split(".")
    mean, sd = number.paper or ("", "")
    place = {"row": number.place.row, "split": split, "structure": structure, "score": score}
    same: dict[str, object] = {**place, "paper_mean": mean, "paper_sd": sd}
    divisions = sorted({*number.planned, *number.records}) if number.records else ()
    for division in divisions:
        folds = {"train": ";".join(division.train), "test": division.test, "seed": division.seed}
        yield {**same, **folds, **_result(number, division)}
    if not divisions:
        yield {**same, "status": number.reason}


def _result(number: Number, division: Division) -> dict[str, object]:
    record = number.records.get(division)
    if record is None:
        return {"status": NOT_FINISHED}
    whole = number.place.column.rpartition(".")[0]
    return {
        **header_fields(record.header),
        "status": "finished",
        "value": plain(record.scores[number.place.column]),
        "num_images": int(record.scores.get(f"{whole}.num_images", 0)),
    }
