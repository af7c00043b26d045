"""Everything that the page asks about one slide, opened when it is first asked for."""

import tempfile
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from histoseg.slides.objects import ObjectFile
from histoseg.slides.summary import OBJECTS, THUMBNAIL, TISSUE_MAP, Summary
from histoseg.slides.tissue_map import read_tissue
from histoseg.store.objects import Store
from histoseg.viewer.census import Census, take_census
from histoseg.viewer.cohort import Entry
from histoseg.viewer.layers import Kind, list_kinds, number_kinds
from histoseg.viewer.polygons import contain, read_rings
from histoseg.viewer.tiles import pack_objects

if TYPE_CHECKING:
    import pyarrow as pa

@dataclass(frozen=True, kw_only=True)
class FoundObject:
    """The numbers of one object, for a person; `rings` are its outline in base pixels."""

    id: int
    kind: int
    class_probability: float | None
    area_um2: float
    x: float
    y: float
    rings: list[list[list[float]]]


class Results:
    """The files of one slide. Reading of objects.parquet is one thread's at a time."""

    def __init__(self, store: Store, entry: Entry, summary: Summary) -> None:
        self.store = store
        self.entry = entry
        self.summary = summary
        self.kinds: tuple[Kind, ...] = list_kinds(summary)
        self._lock = threading.Lock()

    def _key(self, name: str) -> str:
        return f"{self.entry.folder}/{name}"

    @cached_property
    def _objects(self) -> ObjectFile:
        return ObjectFile.open(self.store, self._key(OBJECTS))

    @cached_property
    def _census(self) -> Census:
        return take_census(self._objects, self.kinds, self.summary.size_px, self.summary.mpp)

    @property
    def census(self) -> Census:
        """Where all objects are."""
        with self._lock:
            return self._census

    def outlines(self, structure: str, level: int, square: tuple[int, int]) -> bytes:
        """See `pack_objects`."""
        with self._lock:
            return pack_objects(self._objects, self.kinds, structure, level, square)

    def at(self, x: float, y: float) -> list[FoundObject]:
        """The objects that a point lies in, the smallest first."""
        with self._lock:
            table = self._objects.read(box=(x, y, x, y))
        rings = read_rings(table.column("geometry"))
        inside = np.flatnonzero(contain(rings, x, y, len(table)))
        numbers = number_kinds(table, self.kinds)
        found = [self._found(table.slice(int(row), 1), int(numbers[row])) for row in inside]
        return sorted(found, key=lambda one: one.area_um2)

    def _found(self, row: "pa.Table", kind: int) -> FoundObject:
        values = row.drop_columns(["geometry", "bbox"]).to_pylist()[0]
        rings = read_rings(row.column("geometry"))
        return FoundObject(
            id=values["id"],
            kind=kind,
            class_probability=values["class_probability"],
            area_um2=values["area_um2"],
            x=values["x"],
            y=values["y"],
            rings=[part.tolist() for part in np.split(rings.points, rings.starts[1:-1])],
        )

    def tissue(self) -> UInt8[np.ndarray, "H W"]:
        """The class of tissue of each square."""
        with tempfile.TemporaryDirectory(prefix="histoseg-view-") as folder:
            path = Path(folder) / TISSUE_MAP
            self.store.download(self._key(TISSUE_MAP), path)
            return read_tissue(path).class_map

    def thumbnail(self) -> bytes:
        """A JPEG of the whole slide."""
        return self.store.get(self._key(THUMBNAIL))
