"""Everything that the page asks about one slide, opened when it is first asked for."""

import tempfile
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import shapely
from jaxtyping import UInt8

from histoseg.slides.objects import ObjectFile
from histoseg.slides.summary import OBJECTS, THUMBNAIL, TISSUE_MAP, Summary
from histoseg.slides.tissue_map import read_tissue
from histoseg.store.objects import Store
from histoseg.viewer.census import Census, take_census
from histoseg.viewer.cohort import Entry
from histoseg.viewer.layers import Kind, list_kinds, number_kinds
from histoseg.viewer.tiles import COLUMNS, box_of, pack_objects


@dataclass(frozen=True, kw_only=True)
class FoundObject:
    """The numbers of one object, for a person; `rings` are its outline in base pixels, each a list of x and y."""

    id: int
    kind: int
    class_probability: float | None  # None without a class
    area_um2: float
    x: float
    y: float
    rings: list[list[list[float]]]


class Results:
    """The files of one slide. objects.parquet is read by one thread at a time."""

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
            table = self._objects.read(box=box_of(level, square), structures=[structure], columns=COLUMNS)
        return pack_objects(table, self.kinds, level, square)

    def at(self, x: float, y: float) -> list[FoundObject]:
        """The objects that a point lies in, the smallest first."""
        with self._lock:
            table = self._objects.read(box=(x, y, x, y))
        shapes = shapely.from_wkb(table.column("geometry").to_numpy())
        rows = np.flatnonzero(shapely.intersects_xy(shapes, x, y))
        chosen = table.take(rows)
        numbers = number_kinds(chosen, self.kinds).tolist()
        values = chosen.drop_columns(["bbox", "geometry"]).to_pylist()
        found = [
            FoundObject(
                id=value["id"],
                kind=kind,
                class_probability=value["class_probability"],
                area_um2=value["area_um2"],
                x=value["x"],
                y=value["y"],
                rings=_rings_of(shape),
            )
            for value, kind, shape in zip(values, numbers, shapes[rows], strict=True)
        ]
        return sorted(found, key=lambda one: one.area_um2)

    def tissue(self) -> UInt8[np.ndarray, "H W"]:
        """The class of tissue of each square."""
        with tempfile.TemporaryDirectory(prefix="histoseg-view-") as folder:
            path = Path(folder) / TISSUE_MAP
            self.store.download(self._key(TISSUE_MAP), path)
            return read_tissue(path).class_map

    def thumbnail(self) -> bytes:
        """A JPEG of the whole slide."""
        return self.store.get(self._key(THUMBNAIL))


def _rings_of(shape: shapely.Geometry) -> list[list[list[float]]]:
    rings = shapely.get_rings(shapely.get_parts(shape))
    return [shapely.get_coordinates(ring).tolist() for ring in rings]
