"""A slide's results as tables in microns."""

import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import shapely
import tifffile
from jaxtyping import Int16

from histoseg.errors import DataError
from histoseg.features.glands import GLAND
from histoseg.features.measure import LUMEN
from histoseg.features.slide import ObjectTable, Slide, TissueMap
from histoseg.features.summary import SlideSummary, TissueInfo
from histoseg.slides.objects import ObjectFile
from histoseg.store.objects import Store
from histoseg.structures import TISSUE

OUTLINED = (GLAND, LUMEN)  # Outlines of nuclei would take most of the memory, and no feature needs them.
COLUMNS = ("id", "class", "area_um2", "x", "y")
OBJECTS, TISSUE_FILE = "objects.parquet", "tissue.tif"


def read_slide(store: Store, summary: SlideSummary, folder: str) -> Slide:
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
        name: _read_objects(file, name, info.object_classes, summary.mpp)
        for name, info in summary.structures.items()
        if name != TISSUE
    }
    tissue = None
    if summary.tissue is not None:
        tissue = _read_tissue(store, _existing(store, folder, TISSUE_FILE), summary.tissue, summary)
    return Slide(name=summary.name, mpp=summary.mpp, objects=tables, tissue=tissue, mask_mm2=summary.mask.area_mm2)


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


def _read_tissue(store: Store, key: str, info: TissueInfo, summary: SlideSummary) -> TissueMap:
    """The map of tissue."""
    try:
        squares = tifffile.imread(io.BytesIO(store.get(key)), key=0)
    except (tifffile.TiffFileError, ValueError, IndexError) as error:
        raise DataError(f"{store.url}/{key}: not a readable TIFF ({error}); segment the slide again") from error
    sides = np.array(info.square_px)
    columns, rows = np.ceil(np.array(summary.size_px) / sides - 1e-6).astype(int).tolist()
    if squares.dtype != np.uint8 or squares.ndim != 2 or squares.shape[0] < rows or squares.shape[1] < columns:
        raise DataError(
            f"{store.url}/{key}: {squares.dtype} of shape {squares.shape}; expected classes of {rows} x {columns}"
            f" squares of {sides.tolist()} px; segment the slide again"
        )
    side_x, side_y = (sides * summary.mpp).tolist()
    return TissueMap(
        squares=np.ascontiguousarray(squares[:rows, :columns]),
        classes=info.classes,
        side_um=(side_x, side_y),
        size_um=summary.size_um,
    )
