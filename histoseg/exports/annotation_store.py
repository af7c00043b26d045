"""An AnnotationStore of TIAToolbox (SQLite), which its viewer TIAViz shows and its queries search.

The tables are those of version 1.0.1 of `SQLiteStore` (tiatoolbox 2.1.3, annotation/storage.py).
"""

import json
import sqlite3
import zlib
from contextlib import closing
from itertools import islice
from pathlib import Path

from histoseg.errors import StorageError
from histoseg.exports._slide import ObjectRow, SlideObjects
from histoseg.slides.qupath import feature_id
from histoseg.slides.wkb import MULTIPOLYGON

NAME = "objects.db"
ROWS_AT_ONCE = 10_000
COMPRESSION_LEVEL = 6  # TIAToolbox's 9 takes longer and saves nothing; it reads any.
TABLES = """
    CREATE TABLE metadata (key TEXT UNIQUE, value TEXT);
    CREATE VIRTUAL TABLE rtree USING rtree(id, min_x, max_x, min_y, max_y);
    CREATE TABLE annotations(
        id INTEGER PRIMARY KEY,
        key TEXT UNIQUE,
        objtype TEXT,
        cx FLOAT NOT NULL,
        cy FLOAT NOT NULL,
        geometry BLOB,
        properties TEXT,
        area FLOAT NOT NULL
    );
"""


def write(path: Path, slide: SlideObjects) -> int:
    """Write all objects in base pixels; TIAViz colours them by the property "type": the class, or the structure."""
    count, rows = 0, slide.rows()
    try:
        with closing(sqlite3.connect(path)) as database:
            # The file is new and no one else sees it: without a journal it is written once, and not twice.
            database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + TABLES)
            facts = {"version": "1.0.1", "compression": "zlib", "compression_level": COMPRESSION_LEVEL}
            facts |= {"slide": slide.summary.name, "mpp": slide.summary.mpp, "caveats": slide.summary.caveats}
            database.executemany("INSERT INTO metadata VALUES (?, ?)", [(key, json.dumps(facts[key])) for key in facts])
            while batch := list(islice(rows, ROWS_AT_ONCE)):
                annotations = [_annotation(row, slide) for row in batch]
                database.executemany("INSERT INTO annotations VALUES (?, ?, ?, ?, ?, ?, ?, ?)", annotations)
                database.executemany("INSERT INTO rtree VALUES (?, ?, ?, ?, ?)", map(_bounds, batch))
                count += len(batch)
            database.commit()
    except sqlite3.Error as error:
        raise StorageError(f"cannot write {NAME} of {slide.summary.name}: {error}; is the disk full?") from error
    return count


def _annotation(row: ObjectRow, slide: SlideObjects) -> tuple[object, ...]:
    """The row of an object in the table of annotations."""
    properties: dict[str, object] = {"type": row.type_name, "structure": row.structure, "area_um2": row.area_um2}
    if row.class_probability is not None:
        properties["type_prob"] = row.class_probability
    return (
        row.id,
        feature_id(slide.summary.name, row.structure, row.id),
        "MultiPolygon" if row.geometry[1] == MULTIPOLYGON else "Polygon",
        *row.centroid,
        zlib.compress(row.geometry, COMPRESSION_LEVEL),
        json.dumps(properties, separators=(",", ":")),
        row.area_um2 / slide.summary.mpp**2,
    )


def _bounds(row: ObjectRow) -> tuple[int | float, ...]:
    left, top, right, bottom = row.box
    return row.id, left, right, top, bottom
