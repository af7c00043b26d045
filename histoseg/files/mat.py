"""Label files in MATLAB's format: numbered objects, and the class of each."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import scipy.io
from jaxtyping import Int64

from histoseg.errors import DataError
from histoseg.files.instances import REMEDY, Instances, are_whole, span, to_instance_map, to_objects
from histoseg.files.left_out import leave_out
from histoseg.files.mat_tags import require_known_types
from histoseg.maps.objects import compact_ids
from histoseg.types import InstanceMap, SemanticMap

MAX_BYTES = 2**32  # A label map of 32,000 x 32,000 pixels in four bytes each; a damaged header may claim anything.
EXPECTED = "expected inst_map, id and class"


def load_mat(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Those of the named arrays that the file has, whatever its version; MATLAB's 7.3 is HDF5."""
    try:
        content = _load_hdf5(path, names) if h5py.is_hdf5(path) else _load_version_5(path, names)
    except DataError:
        raise
    except NotImplementedError as error:  # SciPy's word for a file that only h5py reads, which found no HDF5 in it
        raise DataError(f"{path}: a MATLAB 7.3 (HDF5) file, damaged; fetch it again, or save it with -v7") from error
    except Exception as error:  # Damaged files raise anything: zlib.error, OverflowError, MemoryError, ...
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise DataError(f"{path}: not a readable MATLAB file ({reason}); fetch it again") from error
    arrays = {name: values for name in names if isinstance(values := content.get(name), np.ndarray)}
    if wrong := [name for name in names if name in content and name not in arrays]:
        raise DataError(f"{path}: {wrong[0]} is not an array; {REMEDY}")
    return arrays


def _load_version_5(path: Path, names: Sequence[str]) -> Mapping[str, object]:
    require_known_types(path)
    content: Mapping[str, object] = scipy.io.loadmat(path, variable_names=list(names))
    return content


def _load_hdf5(path: Path, names: Sequence[str]) -> dict[str, object]:
    """The arrays of a file of version 7.3, which stores the axes in reverse."""
    with h5py.File(path, "r") as file:
        members = {name: file[name] for name in names if name in file}
        return {name: _from_hdf5(member) for name, member in members.items()}


def _from_hdf5(member: h5py.Dataset | h5py.Group) -> object:
    if isinstance(member, h5py.Dataset) and "MATLAB_empty" in member.attrs:
        return np.zeros(tuple(member[()].astype(int).tolist()))  # An array without values: it has its own size.
    if not isinstance(member, h5py.Dataset):
        return member
    if member.nbytes > MAX_BYTES:
        raise ValueError(f"{member.name} of shape {member.shape} would take {member.nbytes / 2**30:.0f} GiB")
    return np.asarray(member[()]).T


def read_objects(
    path: Path,
    num_classes: int,
    *,
    has_classes: bool = True,
    default_class: int = 1,
    instances: Instances = "numbered",
) -> tuple[InstanceMap, SemanticMap]:
    """The objects of a file in the layout of Lizard, and the class of the object each pixel belongs to.

    Row i of `id` and row i of `class` belong to the same object; rows come in any order.

    Args:
        path: The file, with `inst_map`, `id` and `class`.
        num_classes: Classes, background included.
        has_classes: Whether `class` must be there.
        default_class: The class of all objects of a file without it; IGNORE for objects whose class is not known.
        instances: Whether objects are "numbered", or their connected pieces are objects ("components").
    """
    content = load_mat(path, ("inst_map", "id", "class"))
    if "inst_map" not in content:
        raise DataError(f"{path}: has no inst_map; {EXPECTED}; {REMEDY}")
    numbered = to_instance_map(content["inst_map"], path, "inst_map")
    if "class" not in content and not has_classes:
        return to_objects(numbered, instances, path), (numbered > 0) * np.uint8(default_class)
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
    return to_objects(numbered, instances, path), _to_classes(numbered, numbers, classes, path)


def _column(values: np.ndarray, name: str, path: Path) -> Int64[np.ndarray, " N"]:
    if not are_whole(values):
        raise DataError(f"{path}: {name} has {span(values)}; expected whole numbers; {REMEDY}")
    return values.ravel().astype(np.int64)


def _to_classes(
    instance_map: InstanceMap, numbers: Int64[np.ndarray, " N"], classes: Int64[np.ndarray, " N"], path: Path
) -> SemanticMap:
    """The class of each pixel. `id` may name objects without any pixel, but no object twice."""
    present, compact = compact_ids(instance_map)
    listed, first, counts = np.unique(numbers, return_index=True, return_counts=True)
    if (counts > 1).any():
        raise DataError(f"{path}: id names object {listed[counts > 1][0]} more than once; {REMEDY}")
    if len(unknown := np.setdiff1d(present, listed)):
        raise DataError(
            f"{path}: {len(unknown)} objects of inst_map, such as {unknown[0]}, that id does not name; {REMEDY}"
        )
    leave_out(path, "objects that id names but inst_map lacks", len(listed) - len(present), len(listed), REMEDY)
    rows = first[np.searchsorted(listed, present)]
    return np.asarray(np.concatenate([[0], classes[rows]]).astype(np.uint8)[compact])
