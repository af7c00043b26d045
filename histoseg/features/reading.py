"""A slide's results as tables in microns."""

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely
from jaxtyping import Int16

from histoseg.errors import DataError
from histoseg.features.glands import GLAND
from histoseg.features.measure import LUMEN
from histoseg.features.slide import ObjectTable, SegmentedSlide, TissueSquares
from histoseg.slides.objects import ObjectFile
from histoseg.slides.summary import OBJECTS, TISSUE_MAP, Summary
from histoseg.slides.tissue_map import read_tissue
from histoseg.store.objects import Store
from histoseg.structures import TISSUE

OUTLINED = (GLAND, LUMEN)  # Outlines of nuclei would take most of the memory, and no feature needs them.
ROUNDING = 0.05  # Of a square: the network's grid has whole pixels, so it may end a little before the slide does.
COLUMNS = ("id", "class", "area_um2", "x", "y")


def read_slide(store: Store, summary: Summary, folder: str) -> SegmentedSlide:
    """The objects and squares of tissue below a folder of results.

    Raises:
        DataError: If a file is missing or damaged, or is of another slide.
    """
    file = ObjectFile.open(store, _existing(store, folder, OBJECTS))
    if file.about.mpp != summary.mpp or file.about.size_px != summary.size_px:
        raise DataError(
            f"{file.where}: of a slide of {file.about.size_px} px and {file.about.mpp} µm/px, but its summary says"
            f" {summary.size_px} and {summary.mpp}; segment the slide again"
        )
    tables = {
        name: _read_objects(file, name, tuple(info.classes), summary.mpp)
        for name, info in summary.structures.items()
        if name != TISSUE
    }
    tissue = None if summary.tissue is None else _read_tissue(store, _existing(store, folder, TISSUE_MAP), summary)
    return SegmentedSlide(
        name=summary.name, mpp=summary.mpp, objects=tables, tissue=tissue, mask_mm2=summary.mask.area_mm2
    )


def _existing(store: Store, folder: str, name: str) -> str:
    key = f"{folder}/{name}"
    if store.size(key) is None:
        raise DataError(f"{store.url} has no {key}, which its summary promises; segment the slide again")
    return key


def _read_objects(file: ObjectFile, structure: str, classes: tuple[str, ...], mpp: float) -> ObjectTable:
    """The objects of a structure."""
    is_outlined = structure in OUTLINED
    found = file.read(structures=[structure], columns=[*COLUMNS, *(["geometry"] if is_outlined else [])])
    x, y = (found[name].to_numpy().astype(np.float64) for name in ("x", "y"))
    kinds, classes = _kinds(found["class"], classes)
    shapes = shapely.from_wkb(found["geometry"].to_numpy()) if is_outlined else None
    return ObjectTable(
        ids=found["id"].to_numpy(),
        kinds=kinds,
        classes=classes,
        areas_um2=found["area_um2"].to_numpy().astype(np.float64),
        points_um=np.stack([x, y], axis=1) * mpp,
        shapes=None if shapes is None else shapely.transform(shapes, lambda corners: corners * mpp),
    )


def _kinds(column: pa.ChunkedArray, classes: Sequence[str]) -> tuple[Int16[np.ndarray, " N"], tuple[str, ...]]:
    """The position of each class, and all classes: those that the summary lacks are added."""
    encoded = column.unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):  # Without rows, there is nothing to combine.
        encoded = encoded.chunk(0) if encoded.num_chunks else pa.array([], column.type)
    named = encoded.dictionary.to_pylist()
    used = [named[i] for i in np.unique(encoded.indices.drop_null().to_numpy())]
    known = (*classes, *(name for name in used if name not in classes))
    places = np.array([*(known.index(name) if name in known else -1 for name in named), -1], np.int16)
    return places[encoded.indices.fill_null(-1).to_numpy()], known


def _read_tissue(store: Store, key: str, summary: Summary) -> TissueSquares:
    """The map of tissue, which must cover the slide."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / TISSUE_MAP
        store.download(key, path)
        try:
            found = read_tissue(path)
        except DataError as error:
            raise DataError(str(error).replace(str(path), f"{store.url}/{key}")) from error
    # Squares that the network did not see have a number above those of its classes.
    classes = () if summary.tissue is None else tuple(summary.tissue.classes)
    if found.classes[: len(classes)] != classes:
        raise DataError(
            f"{store.url}/{key}: of classes {', '.join(found.classes)}, but its summary says {', '.join(classes)};"
            " segment the slide again"
        )
    columns, rows = (math.ceil(side / found.square_px - ROUNDING) for side in summary.size_px)
    squares = found.class_map[:rows, :columns]
    if squares.shape != (rows, columns):
        raise DataError(
            f"{store.url}/{key}: {found.class_map.shape} squares of {found.square_px:g} px; a slide of"
            f" {summary.size_px} px has ({rows}, {columns}); segment the slide again"
        )
    side_um = float(found.square_px * summary.mpp)
    width_um, height_um = (side * summary.mpp for side in summary.size_px)
    return TissueSquares(
        squares=np.ascontiguousarray(squares),
        classes=classes,
        side_um=(side_um, side_um),
        size_um=(width_um, height_um),
    )
