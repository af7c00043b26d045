"""The `.dat` of Cerberus (Graham et al. 2023), which TIAToolbox's `store_from_dat` imports: a pickle, as joblib reads.

Objects are by structure, below keys like "Nuclei"; coordinates are pixels of the resolution that the network saw. An
object of several pieces is its largest; holes are left out: the layout has one contour for each object.

Nothing here reads a pickle. The file is written a row group at a time: what pickle makes of a small dictionary, without
its beginning and end, adds the same items to one that is on the reader's stack already.
"""

import pickle
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np

from histoseg.exports._slide import ObjectRow, SlideObjects
from histoseg.slides.qupath import feature_id
from histoseg.slides.wkb import decode

NAME = "objects.dat"
ROWS_AT_ONCE = 10_000
PROTOCOL = 3  # The last without frames, whose lengths would have to be known before.
BEGIN_DICT = pickle.PROTO + bytes([PROTOCOL]) + pickle.EMPTY_DICT + pickle.BINPUT + b"\x00"
ON_GRID_PX = (
    0.25  # Corners are whole numbers of pixels where the slide's are multiples of them; rounding took an eighth.
)


def write(path: Path, slide: SlideObjects) -> int:
    """Write all objects; `type` is the number of the class in the summary, from 1 on, or 0 without one.

    A reader needs all of it in memory, about 2 kB for each nucleus.
    """
    count, scale = 0, slide.summary.model.mpp / slide.summary.mpp
    with path.open("wb") as file:
        file.write(pickle.PROTO + bytes([PROTOCOL]) + pickle.EMPTY_DICT)
        for name in slide.structures:
            file.write(_value(name.capitalize()) + pickle.EMPTY_DICT)
            numbers = {kind: number for number, kind in enumerate(slide.classes_of(name), start=1)}
            rows = slide.rows(structures=[name])
            while batch := list(islice(rows, ROWS_AT_ONCE)):
                key = slide.summary.name
                found = {feature_id(key, name, row.id).replace("-", ""): _info(row, scale, numbers) for row in batch}
                file.write(_items(found))
                count += len(batch)
            file.write(pickle.SETITEM)
        file.write(_items(_resolutions(slide, scale)) + pickle.STOP)
    return count


def _value(value: object) -> bytes:
    """What pushes a value on the reader's stack."""
    return pickle.dumps(value, PROTOCOL)[2:-1]


def _items(found: Mapping[str, object]) -> bytes:
    """What adds items to the dictionary on top of the reader's stack."""
    return pickle.dumps(dict(found), PROTOCOL)[len(BEGIN_DICT) : -1]


def _info(row: ObjectRow, scale: float, numbers: dict[str, int]) -> dict[str, object]:
    """An object in Cerberus' words; the first three must come first (TIAToolbox makes properties of the others)."""
    left, top, right, bottom = (value / scale for value in row.box)
    info: dict[str, object] = {
        "box": np.array([left, top, right, bottom]),
        "centroid": np.array(row.centroid) / scale,
        "contour": _contour(row.geometry, scale),
        "type": numbers.get(row.class_name, 0),
    }
    return info | ({} if row.class_probability is None else {"type_prob": row.class_probability})


def _contour(geometry: bytes, scale: float) -> np.ndarray:
    """The outer ring of the largest piece: whole numbers, unless the outline does not lie on that grid."""
    outer = max((rings[0] for rings in decode(geometry)), key=_area)[:-1] / scale
    whole = np.rint(outer).astype(np.int32)
    return whole if np.abs(whole - outer).max() < ON_GRID_PX else outer


def _area(ring: np.ndarray) -> float:
    x, y = (ring - ring[0]).T
    return abs(float(x[:-1] @ y[1:] - y[:-1] @ x[1:]))


def _resolutions(slide: SlideObjects, scale: float) -> dict[str, object]:
    width, height = slide.summary.size_px
    return {
        "proc_resolution": {"resolution": slide.summary.model.mpp, "units": "mpp"},
        "base_resolution": {"resolution": slide.summary.mpp, "units": "mpp"},
        "proc_dimensions": np.array([round(height / scale), round(width / scale)]),
        "base_dimensions": np.array([height, width]),
    }
