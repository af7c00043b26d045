"""Maps of an image or a region from what a network predicts for its windows."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from histoseg.errors import DataError
from histoseg.maps.windows import Window

PIXELS_AT_ONCE = 2**20  # Of the windows that a network sees together; one of published width takes gigabytes for them.


def put(whole: np.ndarray, found: np.ndarray, seen: Sequence[Window]) -> None:
    """Put what some windows found, with their margins, into a map of a region."""
    for window, part in zip(seen, found, strict=True):
        place = whole[window.place]
        place[...] = part[window.core][: place.shape[0], : place.shape[1]]  # What lies in the region


def require_finite(found: Tensor, structure: str) -> Tensor:
    """What a head predicts, if all of it is numbers."""
    if not bool(found.isfinite().all()):
        raise DataError(f"head {structure} produced NaN or infinite values; the model weights may be corrupt")
    return found
