"""The published division of a source into folds, as a table states it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from histoseg.errors import DataError
from histoseg.files.folders import without_ending
from histoseg.files.tables import read_csv
from histoseg.types import EXTERNAL, FOLDS, Split

COLUMNS = ("Patient", "MPP", "Source")  # Which a table of folds may have


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A value of a table, and the line that states it."""

    line: int
    text: str


def read_column(path: Path, column: str) -> dict[str, Cell]:
    """The value of each image in a column; an empty dict if the table has no such column.

    Images are named with or without the ending of their format.
    """
    cells: dict[str, Cell] = {}
    for row in read_csv(path, ("Filename", "Split"), content="which fold an image is in", optional=COLUMNS):
        if column not in row.values:
            continue
        name = without_ending(row["Filename"])
        if not name:
            raise DataError(f"{path}: line {row.line}: Filename is empty; name the image, or remove the row")
        first = cells.setdefault(name, Cell(line=row.line, text=row[column]))
        if first.text != row[column]:
            raise DataError(
                f"{path}: {column} of {name} is {first.text!r} and {row[column]!r}; remove one of the rows, lines"
                f" {first.line} and {row.line}"
            )
    return cells


def read_folds(path: Path) -> dict[str, Split]:
    """The published fold of each image: `Split` is 1, 2, 3 or external."""
    folds: dict[str, Split] = dict(zip(("1", "2", "3", EXTERNAL), (*FOLDS, EXTERNAL), strict=True))
    cells = read_column(path, "Split")
    for name, cell in cells.items():
        if cell.text.lower() not in folds:
            raise DataError(
                f"{path}: Split of {name} is {cell.text!r}; expected {', '.join(folds)}; correct line {cell.line}"
            )
    return {name: folds[cell.text.lower()] for name, cell in cells.items()}


def no_fold(path: Path, names: Sequence[str]) -> DataError:
    """The error for a table without rows for some images."""
    return DataError(
        f"{path}: has no row for {names[0]} ({len(names)} images lack one); add it or fetch the file again"
    )
