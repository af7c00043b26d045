"""NumPy's own files, never unpickled."""

from pathlib import Path

import numpy as np

from histoseg.errors import DataError


def open_array(path: Path) -> np.ndarray:
    """The array of a .npy file, mapped from disk: only indexed parts are read."""
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # A damaged header raises anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise DataError(f"{path}: not a readable NumPy array ({reason}); fetch the file again") from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: an archive of arrays (.npz); save the one array as .npy")
    return array
