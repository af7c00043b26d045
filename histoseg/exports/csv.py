"""A table of all objects without their outlines, for spreadsheets and statistics."""

import csv
from pathlib import Path

from histoseg.exports._slide import SlideObjects
from histoseg.exports._text import open_text
from histoseg.slides.columns import COLUMNS, to_cells

NAME = "objects.csv"


def write(path: Path, slide: SlideObjects) -> int:
    """A row for each object, in base pixels; class and its probability are empty without a class."""
    count = 0
    with open_text(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in slide.rows():
            writer.writerow(to_cells(row))
            count += 1
    return count
