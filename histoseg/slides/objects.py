"""The file of record: every object of a slide in one GeoParquet 1.1, read by viewport, also from an object store.

Coordinates are base pixels from the upper left corner of the slide, as in QuPath: the middle of the first pixel is
(0.5, 0.5). `tabulate` makes the rows, `write_objects` the file, `ObjectFile` reads it.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float64
from pydantic import BaseModel, ValidationError

from histoseg.errors import DataError
from histoseg.slides.hilbert import divide, hilbert_codes
from histoseg.slides.ranged_file import RangedFile
from histoseg.slides.tabulate import SCHEMA, tabulate
from histoseg.store.objects import Store, whole_file

__all__ = ["SCHEMA", "ObjectFile", "ObjectsAbout", "tabulate", "write_objects"]

Number = int | float
Box = tuple[Number, Number, Number, Number]  # Left, top, right, bottom in base pixels

MOST_ROWS = 16_000  # Of a row group, which is what a viewport reads at least; half as many where there are enough
MOST_BYTES = 16 * 2**20  # Likewise, in memory: 2,000 glands have as many corners as 30,000 nuclei.
# What waits to be put in order: enough to make compact groups of small regions that come row by row.
WAITING_ROWS, WAITING_BYTES = 4 * MOST_ROWS, 4 * MOST_BYTES
# Neighbours have the same beginnings of coordinates, which small pages gain from: 63 bytes a nucleus instead of 70 with
# pages of a megabyte, and faster. The size of a page is looked at after so many rows.
PAGE_BYTES, ROWS_BETWEEN_PAGES = 2**16, 256
SIDES = ("xmin", "ymin", "xmax", "ymax")
NUMBERS = ("class_probability", "x", "y", *(f"bbox.{side}" for side in SIDES))
WORDS = ("structure", "class", "area_um2")  # Areas are whole numbers of pixels, so few differ.
GEO = {
    "version": "1.1.0",
    "primary_column": "geometry",
    "columns": {
        "geometry": {
            "encoding": "WKB",
            "geometry_types": ["Polygon", "MultiPolygon"],
            "crs": None,
            "orientation": "counterclockwise",
            "edges": "planar",
            "covering": {"bbox": {side: ["bbox", side] for side in SIDES}},
        }
    },
}


class ObjectsAbout(BaseModel, frozen=True):
    """The slide that the objects are of, and the model that found them."""

    name: str
    size_px: tuple[int, int]  # Width and height
    mpp: float
    model_sha256: str


def write_objects(path: Path, tables: Iterable[pa.Table], about: ObjectsAbout) -> int:
    """Write the rows of all tables, in groups of neighbours of one structure; returns how many there are.

    In memory are one table, and of each structure at most `WAITING_BYTES` that wait for neighbours.

    Raises:
        StorageError: If the file cannot be written; nothing of it is left.
    """
    metadata = {"geo": json.dumps(GEO), "histoseg": about.model_dump_json()}
    count = 0
    with (
        whole_file(path) as part,
        pq.ParquetWriter(
            part,
            SCHEMA.with_metadata(metadata),
            compression="zstd",
            compression_level=1,  # The fastest, and for outlines the smallest of 1 to 15
            use_dictionary=list(WORDS),
            column_encoding={"id": "DELTA_BINARY_PACKED", **dict.fromkeys(NUMBERS, "BYTE_STREAM_SPLIT")},
            write_statistics=["id", *WORDS, *NUMBERS],
            data_page_size=PAGE_BYTES,
            write_batch_size=ROWS_BETWEEN_PAGES,
        ) as writer,
    ):
        for group in _group(tables):
            numbers = pa.array(np.arange(count + 1, count + len(group) + 1, dtype=np.int32))
            writer.write_table(group.set_column(0, SCHEMA.field("id"), numbers), row_group_size=len(group))
            count += len(group)
    return count


def _group(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Row groups, each of one structure: small tables together, large ones in parts."""
    waiting: dict[str, list[pa.Table]] = {}
    for table in tables:
        names = table["structure"].unique().to_pylist()
        for structure in names:
            rows = waiting.setdefault(structure, [])
            rows.append(table if len(names) == 1 else table.filter(pc.equal(table["structure"], structure)))
            if sum(map(len, rows)) >= WAITING_ROWS or sum(part.nbytes for part in rows) >= WAITING_BYTES:
                yield from _split(waiting.pop(structure))
    for rows in waiting.values():
        yield from _split(rows)


def _split(rows: Sequence[pa.Table]) -> Iterator[pa.Table]:
    """The rows of some tables in equal parts of neighbours that are not too large, in each along a Hilbert curve."""
    table = pa.concat_tables(rows).unify_dictionaries().combine_chunks()
    num_parts = max(-(-len(table) // MOST_ROWS), -(-table.nbytes // MOST_BYTES))
    xy = np.stack([table["x"].to_numpy(), table["y"].to_numpy()])
    for part in divide(xy, num_parts):
        yield table.take(part[np.argsort(hilbert_codes(*xy[:, part]), kind="stable")])


@dataclass(frozen=True, kw_only=True)
class ObjectFile:
    """A file of objects that is open; of its rows nothing is in memory."""

    where: str  # Its address, for messages
    about: ObjectsAbout
    count: int
    boxes: Float64[np.ndarray, "G 4"]  # Around the objects of each row group
    structures: tuple[str, ...]  # Of each row group
    parquet: pq.ParquetFile

    @classmethod
    def open(cls, store: Store, key: str) -> "ObjectFile":
        """Read what the file says of itself.

        Raises:
            DataError: If it is not such a file, or is damaged.
            StorageError: If there is no such object, or it cannot be read.
        """
        where = f"{store.url}/{key}"
        with _translated_errors(where):
            parquet = pq.ParquetFile(pa.PythonFile(RangedFile(store, key), mode="r"), pre_buffer=True)
            metadata = parquet.metadata
            if not parquet.schema_arrow.equals(SCHEMA):
                raise DataError(f"{where}: has columns {', '.join(parquet.schema_arrow.names)}; {_expected()}")
            boxes, structures = _bounds(metadata)
            return cls(
                where=where,
                about=ObjectsAbout.model_validate_json((metadata.metadata or {}).get(b"histoseg", b"")),
                count=metadata.num_rows,
                boxes=np.array(boxes, np.float64).reshape(-1, 4),
                structures=tuple(structures),
                parquet=parquet,
            )

    def read(
        self,
        box: Box | None = None,
        structures: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """The objects whose boxes meet a box, of some structures; all of them without either.

        Only row groups that may have such objects are read.
        """
        schema = _chosen(columns)
        tables = [*self.stream(box, structures, columns)]
        return pa.concat_tables([schema.empty_table(), *tables]).unify_dictionaries()

    def stream(
        self,
        box: Box | None = None,
        structures: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
    ) -> Iterator[pa.Table]:
        """The same, a row group at a time."""
        schema = _chosen(columns)
        wanted = schema.names if box is None or "bbox" in schema.names else [*schema.names, "bbox"]
        for group in self._groups(box, structures):
            with _translated_errors(self.where):
                table = self.parquet.read_row_group(group, columns=wanted)
            yield (table if box is None else table.filter(_meets(table, box))).select(schema.names).cast(schema)

    def _groups(self, box: Box | None, structures: Sequence[str] | None) -> list[int]:
        """The row groups that may have objects of these structures in a box."""
        is_wanted = np.array([structures is None or name in structures for name in self.structures], bool)
        if box is not None:
            left, top, right, bottom = box
            xmin, ymin, xmax, ymax = self.boxes.T
            is_wanted &= (xmin <= right) & (xmax >= left) & (ymin <= bottom) & (ymax >= top)
        found: list[int] = np.flatnonzero(is_wanted).tolist()
        return found


def _meets(table: pa.Table, box: Box) -> pa.Array:
    left, top, right, bottom = box
    xmin, ymin, xmax, ymax = table["bbox"].combine_chunks().flatten()
    across = pc.and_(pc.less_equal(xmin, right), pc.greater_equal(xmax, left))
    return pc.and_(across, pc.and_(pc.less_equal(ymin, bottom), pc.greater_equal(ymax, top)))


def _chosen(columns: Sequence[str] | None) -> pa.Schema:
    if unknown := sorted({*(columns or ())} - {*SCHEMA.names}):
        raise ValueError(f"no column {', '.join(unknown)}; choose from {', '.join(SCHEMA.names)}")
    return pa.schema([field for field in SCHEMA if columns is None or field.name in columns])


def _bounds(metadata: pq.FileMetaData) -> tuple[list[Box], list[str]]:
    """Around the objects of each row group a box, and their structure, by the statistics that the file has of them."""
    boxes, structures = list[Box](), list[str]()
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        columns = [group.column(k) for k in range(group.num_columns)]  # Statistics need their column to be kept.
        least = {column.path_in_schema: column.statistics.min for column in columns if column.statistics}
        most = {column.path_in_schema: column.statistics.max for column in columns if column.statistics}
        boxes.append((least["bbox.xmin"], least["bbox.ymin"], most["bbox.xmax"], most["bbox.ymax"]))
        structures.append(least["structure"])
    return boxes, structures


def _expected() -> str:
    return "expected the objects.parquet of `histoseg`; segment the slide again"


@contextmanager
def _translated_errors(where: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        raise DataError(f"{where}: does not say which slide its objects are of; {_expected()}") from error
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{where}: cannot be read as Parquet ({reason}); {_expected()}") from error
