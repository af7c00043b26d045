"""Tables of features for other programs: Parquet, and CSV for people."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from jaxtyping import Float64

from histoseg.features.measure import GlandTable
from histoseg.features.record import SlideFeatures
from histoseg.features.slide import ObjectTable, TissueSquares


def gland_table(glands: ObjectTable, found: GlandTable, mpp: float, tissue: TissueSquares | None) -> pa.Table:
    """One row for each gland: which it is and where, then its features."""
    x, y = (glands.points_um / mpp).T
    columns: dict[str, pa.Array] = {
        "gland_id": pa.array(glands.ids),
        "x_px": pa.array(x.astype(np.float32)),
        "y_px": pa.array(y.astype(np.float32)),
    }
    if glands.classes:
        columns["class"] = _words(glands.classes, glands.kinds)
    if tissue is not None:
        columns["tissue"] = _words(tissue.classes, tissue.squares[tissue.rows_columns(glands.points_um)])
    for name, values in found.columns.items():
        columns[name] = _numbers(values, is_count=found.features[name].is_count)
    return pa.table(columns)


def _words(names: Sequence[str], numbers: np.ndarray) -> pa.Array:
    listed = numbers.tolist()
    return pa.array([names[i] if 0 <= i < len(names) else None for i in listed], pa.string())


def _numbers(values: Float64[np.ndarray, " N"], *, is_count: bool) -> pa.Array:
    """Numbers with null for what is not a number."""
    column = pa.array(values, from_pandas=True)
    return column.cast(pa.int64()) if is_count else column


def slide_table(slides: Sequence[SlideFeatures]) -> pa.Table:
    """One row for each slide; a column that some slides lack is null there."""
    columns: dict[str, pa.Array] = {
        "slide": pa.array([one.name for one in slides], pa.string()),
        "mpp": pa.array([one.mpp for one in slides], pa.float64()),
        "width_px": pa.array([one.size_px[0] for one in slides], pa.int64()),
        "height_px": pa.array([one.size_px[1] for one in slides], pa.int64()),
        "model_sha256": pa.array([one.model_sha256 for one in slides], pa.string()),
        "caveats": pa.array([" ".join(one.caveats) or None for one in slides], pa.string()),
    }
    counts = {name for one in slides for name in one.counts}
    for name in dict.fromkeys(name for one in slides for name in one.values):
        values = [one.values.get(name) for one in slides]
        columns[name] = pa.array(values, pa.float64()).cast(pa.int64() if name in counts else pa.float64())
    return pa.table(columns)


def reasons_table(slides: Sequence[SlideFeatures]) -> pa.Table:
    """Why a value is null or a column absent: one row for each slide and column."""
    known = dict.fromkeys(name for one in slides for name in one.values)
    rows = [(one.name, column, reason) for one in slides for column, reason in one.reasons.items()]
    rows += [
        (one.name, column, "this slide's model does not find what it needs")
        for one in slides
        for column in known
        if column not in one.values and column not in one.reasons
    ]
    names = ("slide", "column", "reason")
    return pa.table({name: pa.array([row[i] for row in rows], pa.string()) for i, name in enumerate(names)})


def to_parquet(table: pa.Table, metadata: Mapping[str, str]) -> bytes:
    """The table as a Parquet file, with what is known of it."""
    file = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(dict(metadata)), file, compression="zstd")
    return file.getvalue()


def to_csv(table: pa.Table) -> bytes:
    """The table as CSV; null is empty."""
    file = io.BytesIO()
    pyarrow.csv.write_csv(table, file, pyarrow.csv.WriteOptions(quoting_style="needed"))
    return file.getvalue()
