"""Tables as CSV."""

import csv
from collections.abc import Collection
from pathlib import Path

from histoseg.errors import DataError


def read_csv(path: Path, columns: Collection[str], *, content: str) -> list[dict[str, str]]:
    """The rows of a table, blanks around names and values removed; missing fields of a short row are empty.

    Args:
        path: The file; it may begin with a byte-order mark, as spreadsheets write it.
        columns: The columns that must be there.
        content: What only this file states, for the message where it is missing.
    """
    if not path.is_file():
        raise DataError(f"{path}: not found; only this file states {content}, so fetch it again")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            names = [name.strip() for name in rows.fieldnames or ()]
            rows.fieldnames = names
            table = [{name: (row[name] or "").strip() for name in names} for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a readable table ({error}); fetch the file again") from error
    if not set(columns) <= set(names):
        raise DataError(f"{path}: columns {names}; expected {' and '.join(columns)}; fetch the file again")
    return table
