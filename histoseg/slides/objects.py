"""Stand-in of the branch `viewer` until `outputs` is merged: reads objects.parquet."""

import io
import json
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


class ObjectFile:
    def __init__(self, store, key):
        self._file = pq.ParquetFile(io.BytesIO(store.get(key)))
        self.about = SimpleNamespace(**json.loads(self._file.schema_arrow.metadata[b"histoseg"]))
        self.count = self._file.metadata.num_rows
        names = [self._file.metadata.row_group(0).column(i).path_in_schema for i in range(self._file.metadata.num_columns)] if self.count else []
        self._edges = {}
        for side in ("xmin", "ymin", "xmax", "ymax"):
            i = names.index(f"bbox.{side}")
            stats = [self._file.metadata.row_group(g).column(i).statistics for g in range(self._file.num_row_groups)]
            self._edges[side] = np.array([s.min if side.endswith("min") else s.max for s in stats])

    def read(self, box=None, structures=None, columns=None):
        groups = range(self._file.num_row_groups)
        if box is not None:
            e = self._edges
            meets = (e["xmin"] <= box[2]) & (e["xmax"] >= box[0]) & (e["ymin"] <= box[3]) & (e["ymax"] >= box[1])
            groups = np.flatnonzero(meets).tolist()
        wanted = None if columns is None else list(dict.fromkeys([*columns, *(["bbox"] if box is not None else []), *(["structure"] if structures else [])]))
        table = self._file.read_row_groups(groups, columns=wanted, use_threads=False)
        keep = np.ones(len(table), bool)
        if box is not None and len(table):
            b = table.column("bbox").combine_chunks()
            keep &= (b.field("xmin").to_numpy() <= box[2]) & (b.field("xmax").to_numpy() >= box[0]) & (b.field("ymin").to_numpy() <= box[3]) & (b.field("ymax").to_numpy() >= box[1])
        if structures is not None and len(table):
            keep &= np.isin(np.array(table.column("structure").to_pylist()), list(structures))
        table = table.filter(pa.array(keep))
        return table if columns is None else table.select(list(columns))
