"""The published division of a source into folds, as a table states it."""

from collections.abc import Sequence
from pathlib import Path

from histoseg.errors import DataError
from histoseg.files.tables import read_csv
from histoseg.types import EXTERNAL, FOLDS, Split


def read_column(path: Path, column: str) -> dict[str, str]:
    """The value of each image in a column; an empty dict if the table has no such column."""
    values: dict[str, str] = {}
    for row in read_csv(path, ("Filename", "Split"), content="which fold an image is in"):
        name = row["Filename"].removesuffix(".png")
        if column in row and values.setdefault(name, row[column]) != row[column]:
            raise DataError(
                f"{path}: {column} of {name} is {values[name]!r} and {row[column]!r}; remove one of the rows"
            )
    return values


def read_folds(path: Path) -> dict[str, Split]:
    """The published fold of each image: `Split` is 1, 2, 3 or external."""
    folds: dict[str, Split] = dict(zip(("1", "2", "3", EXTERNAL), (*FOLDS, EXTERNAL), strict=True))
    texts = read_column(path, "Split")
    if wrong := [name for name, text in texts.items() if text.lower() not in folds]:
        raise DataError(f"{path}: Split of {wrong[0]} is {texts[wrong[0]]!r}; expected {', '.join(folds)}")
    return {name: folds[text.lower()] for name, text in texts.items()}


def no_fold(path: Path, names: Sequence[str]) -> DataError:
    """The error for a table without rows for some images."""
    return DataError(
        f"{path}: has no row for {names[0]} ({len(names)} images lack one); add it or fetch the file again"
    )
