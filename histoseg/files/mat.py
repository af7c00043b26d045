"""Label files in MATLAB's format: numbered objects, and the class of each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.io
from jaxtyping import Int64

from histoseg.errors import DataError
from histoseg.types import InstanceMap, SemanticMap

REMEDY = "fetch or write the file again"
EXPECTED = "expected inst_map, id and class"


def load_mat(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Those of the named arrays that the file has."""
    try:
        content = scipy.io.loadmat(path, variable_names=list(names))
    except NotImplementedError as error:
        raise DataError(f"{path}: a MATLAB 7.3 (HDF5) file, which SciPy does not read; save it with -v7") from error
    except Exception as error:  # A damaged file makes SciPy raise anything: zlib.error, MemoryError, KeyError.
        raise DataError(
            f"{path}: not a readable MATLAB file ({type(error).__name__}: {error}); fetch it again"
        ) from error
    return {name: content[name] for name in names if name in content}


def to_instance_map(values: np.ndarray, path: Path) -> InstanceMap:
    """The numbers of objects as integers; files store integers or floats."""
    if values.ndim != 2 or not _are_whole(values):
        raise DataError(
            f"{path}: inst_map of shape {values.shape} and {_span(values)};"
            f" expected two axes and whole numbers from 0 (no object) up; {REMEDY}"
        )
    return values.astype(np.int32)


def _are_whole(values: np.ndarray) -> bool:
    """Whether all values are integers that int32 holds, none negative."""
    if values.dtype.kind not in "buif":
        return False
    return bool(((values >= 0) & (values <= np.iinfo(np.int32).max) & (values == np.floor(values))).all())


def _span(values: np.ndarray) -> str:
    if values.dtype.kind not in "buif" or values.size == 0:
        return f"type {values.dtype}"
    return f"values from {values.min()} to {values.max()}"


def read_objects(path: Path, num_classes: int, *, has_classes: bool = True) -> tuple[InstanceMap, SemanticMap]:
    """The objects of a file in the layout of Lizard, and the class of the object each pixel belongs to.

    Row i of `id` and row i of `class` belong to the same object; rows come in any order.

    Args:
        path: The file, with `inst_map`, `id` and `class`.
        num_classes: Classes, background included.
        has_classes: Whether `class` must be there; if not, all objects of a file without it have class 1.
    """
    content = load_mat(path, ("inst_map", "id", "class"))
    if "inst_map" not in content:
        raise DataError(f"{path}: has no inst_map; {EXPECTED}; {REMEDY}")
    instance_map = to_instance_map(content["inst_map"], path)
    if "class" not in content and not has_classes:
        return instance_map, (instance_map > 0).astype(np.uint8)
    if lacking := [name for name in ("id", "class") if name not in content]:
        raise DataError(f"{path}: has no {lacking[0]}; {EXPECTED}; {REMEDY}")
    numbers, classes = _column(content["id"], "id", path), _column(content["class"], "class", path)
    if len(numbers) != len(classes):
        raise DataError(f"{path}: id names {len(numbers)} objects but class has {len(classes)}; {REMEDY}")
    if len(classes) and not 1 <= classes.min() <= classes.max() < num_classes:
        raise DataError(
            f"{path}: class has values from {classes.min()} to {classes.max()};"
            f" expected 1 to {num_classes - 1}; {REMEDY}"
        )
    return instance_map, _to_classes(instance_map, numbers, classes, path)


def _column(values: np.ndarray, name: str, path: Path) -> Int64[np.ndarray, "N"]:
    if not _are_whole(values):
        raise DataError(f"{path}: {name} has {_span(values)}; expected whole numbers; {REMEDY}")
    return values.ravel().astype(np.int64)


def _to_classes(
    instance_map: InstanceMap, numbers: Int64[np.ndarray, "N"], classes: Int64[np.ndarray, "N"], path: Path
) -> SemanticMap:
    """The class of each pixel. `id` may name objects without any pixel, but no object twice."""
    present, where = np.unique(instance_map, return_inverse=True)
    listed, counts = np.unique(numbers, return_counts=True)
    if (counts > 1).any():
        raise DataError(f"{path}: id names object {listed[counts > 1][0]} more than once; {REMEDY}")
    if unknown := sorted(set(present.tolist()) - set(listed.tolist()) - {0}):
        raise DataError(
            f"{path}: {len(unknown)} objects of inst_map, such as {unknown[0]}, that id does not name; {REMEDY}"
        )
    class_of = dict(zip(numbers.tolist(), classes.tolist(), strict=True)) | {0: 0}
    lookup = np.array([class_of[number] for number in present.tolist()], np.uint8)
    return lookup[where].reshape(instance_map.shape)
