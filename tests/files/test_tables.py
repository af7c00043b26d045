"""Tables as spreadsheets and scripts save them."""

import codecs

import pytest

from histoseg.errors import DataError
from histoseg.files.tables import read_csv


def read(path, body, columns=("Name", "Größe"), **options):
    path.write_bytes(body)
    return read_csv(path, columns, content="sizes", **options)


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode("utf-8"),
        lambda text: codecs.BOM_UTF8 + text.encode("utf-8"),
        lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
        lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
        lambda text: text.encode("utf-16-le"),
        lambda text: text.encode("utf-16-be"),
        lambda text: text.encode("cp1252"),
        lambda text: text.replace("\n", "\r\n").encode("utf-8"),
    ],
    ids=["utf-8", "utf-8-bom", "utf-16-le-bom", "utf-16-be-bom", "utf-16-le", "utf-16-be", "cp1252", "crlf"],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_encodings_and_delimiters(tmp_path, encode, delimiter):
    text = "Name|Größe|Note\n a | 1 |\n\nb|2|x|extra\n||\n \n|".replace("|", delimiter)
    first, second = read(tmp_path / "a.csv", encode(text))  # Rows without any value are none.
    assert (first.line, first.values) == (2, {"Name": "a", "Größe": "1", "Note": ""})
    assert (second.line, second["Note"]) == (4, "x")


def test_columns_are_found_in_another_case_and_short_rows_are_filled(tmp_path):
    (row,) = read(tmp_path / "a.csv", b"NAME,Size,mpp\na,1\n", ("Name",), optional=("MPP",))
    assert row.values == {"Name": "a", "Size": "1", "MPP": ""}


def test_a_decimal_comma_among_semicolons(tmp_path):
    (row,) = read(tmp_path / "a.csv", b"Name;MPP\na;0,25\n", ("Name", "MPP"))
    assert row["MPP"] == "0,25"


@pytest.mark.parametrize("above", [b"sep=;\n", b"\n;\n", b"sep=;\r\n\r\n"])
def test_lines_above_the_names_of_columns(tmp_path, above):
    (row,) = read(tmp_path / "a.csv", above + b"Name;MPP\na;1\n", ("Name", "MPP"))
    assert (row.line, row.values) == (above.count(b"\n") + 2, {"Name": "a", "MPP": "1"})


def test_line_breaks_within_a_field_are_blanks(tmp_path):
    (row,) = read(tmp_path / "a.csv", b'Name,Note\n"a","x\r\ny"\n', ("Name",))
    assert (row.line, row["Note"]) == (3, "x y")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("Name,Größe,name\na,1,b\n".encode(), "a.csv: column Name is there 2 times"),
        (b"Name,Note\na,b\n", r"a.csv: columns \['Name', 'Note'\]; expected Name and Gr.*in the first row"),
        (b"", r"a.csv: columns \[\]"),
        (b"Name\x00,\xff", "a.csv: not a readable table"),
        (b"N\x81me,x\n", "a.csv: not a readable table"),  # Windows-1252 has no 0x81.
        (b'Name,"' + b"x" * 200_000 + b'"\n', "a.csv: line 1: not a readable table"),
    ],
)
def test_faults(tmp_path, body, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.csv", body)


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"a.csv: not found; only this file states sizes"):
        read_csv(tmp_path / "a.csv", ("Name",), content="sizes")
