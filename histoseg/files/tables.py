"""Tables of text, as spreadsheets and scripts save them."""

import codecs
import csv
import io
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from histoseg.errors import DataError

DELIMITERS = ",;\t"
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table.

    Attributes:
        line: Its line in the file, the first is 1.
        values: The value of each column, without blanks around it.
    """

    line: int
    values: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.values[column]


def read_csv(path: Path, columns: Collection[str], *, content: str, optional: Collection[str] = ()) -> list[Row]:
    """The rows of a table that are not empty; missing fields of a short row are empty.

    Fields are separated by commas, semicolons or tabs, whichever gives the columns. The text is UTF-8 or UTF-16, with
    or without a byte-order mark, else Windows-1252. Names of columns are compared ignoring case. Above them may stand
    empty lines and Excel's `sep=;`.

    Args:
        path: The file.
        columns: The columns that must be there.
        content: What only this file states, for the message where it is missing.
        optional: Columns that may be there.
    """
    if not path.is_file():
        raise DataError(f"{path}: not found; only this file states {content}, so fetch it again")
    wanted = {name.casefold(): name for name in (*columns, *optional)}
    text = _decode(path)
    tables = [_split(text, delimiter, path) for delimiter in DELIMITERS]
    headers = [[wanted.get(name.casefold(), name) for name in fields] for (_, fields), *_ in tables]
    for names, (_, *lines) in zip(headers, tables, strict=True):
        if set(columns) <= set(names):
            if twice := [name for name in wanted.values() if names.count(name) > 1]:
                raise DataError(f"{path}: column {twice[0]} is there {names.count(twice[0])} times; remove all but one")
            return [_to_row(names, line, fields) for line, fields in lines if any(fields)]
    found = max(headers, key=len)
    raise DataError(f"{path}: columns {found}; expected {' and '.join(columns)} in the first row; correct the table")


def _decode(path: Path) -> str:
    body = path.read_bytes()
    if body.startswith(UTF_16):
        encodings: tuple[str, ...] = ("utf-16",)
    elif body[1:2] == b"\0" or body[:1] == b"\0":  # UTF-16 without its mark: the first letters of tables are Latin.
        encodings = ("utf-16-le",) if body[1:2] == b"\0" else ("utf-16-be",)
    else:
        encodings = ("utf-8-sig", "cp1252")
    for encoding in encodings:
        try:
            text = body.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise DataError(f"{path}: not a readable table (neither {' nor '.join(encodings)}); save it as CSV in UTF-8")


def _split(text: str, delimiter: str, path: Path) -> list[tuple[int, list[str]]]:
    """The number and the fields of each line from the columns' names on; at least one line.

    Fields have no blanks around them, and a blank for each line break within.
    """
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        read = [(lines.line_num, [" ".join(field.strip().splitlines()) for field in fields]) for fields in lines]
        begin = (i for i, (_, fields) in enumerate(read) if any(fields) and not fields[0].startswith("sep="))
        return read[next(begin, 0) :] or [(1, [])]
    except csv.Error as error:
        raise DataError(f"{path}: line {lines.line_num}: not a readable table ({error}); save it again") from error


def _to_row(names: list[str], line: int, fields: list[str]) -> Row:
    lacking = [""] * (len(names) - len(fields))
    return Row(line=line, values=dict(zip(names, fields + lacking, strict=False)))
