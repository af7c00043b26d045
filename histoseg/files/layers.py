"""Which outlines are objects: one layer of several, and none that frames what was annotated."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float64

from histoseg.errors import DataError
from histoseg.files.notes import note
from histoseg.files.regions import Region, contains, vertices

FRAME = 0.9  # Of the image: a region that covers more frames what was annotated.
LARGER = 9  # Than half of the regions: what is a frame, or holds some others at least.
FEW = 3  # Regions that lie within another may all be parts of one object.


def choose_layer(regions: Sequence[Region], size: tuple[int, int], path: Path, layer: str = "") -> list[Region]:
    """The regions of the one layer that outlines objects.

    That is the layer asked for; else the only one with regions; else the only one whose regions do not cover the image,
    as the frame of a field does.

    Args:
        regions: Those of all layers.
        size: Height and width of the image.
        path: The file, for messages.
        layer: The layer to take; empty to find out.

    Raises:
        DataError: If no layer has that name, or more than one outlines objects.
    """
    names = list(dict.fromkeys(region.layer for region in regions))
    counts = ", ".join(f"{name!r} with {sum(region.layer == name for region in regions)} regions" for name in names)
    if layer and layer not in names:
        raise DataError(f"{path}: no layer {layer!r}; it has {counts or 'no regions'}; choose another layer")
    found = [layer] if layer else [name for name in names if not _is_frame(regions, name, size)] or names[:1]
    if len(found) > 1:
        raise DataError(
            f"{path}: layers {counts}, and only one can be the truth; prepare with --option layer=NAME, or remove the"
            " others"
        )
    note("layers beside the one with the objects left out", len(names) - len(found))
    return [region for region in regions if region.layer in found]


def _is_frame(regions: Sequence[Region], name: str, size: tuple[int, int]) -> bool:
    """Whether a layer has nothing but regions that cover the image."""
    return all(_covers(region, size) for region in regions if region.layer == name)


def _covers(region: Region, size: tuple[int, int]) -> bool:
    extent = np.array([size[1], size[0]], np.float64)
    clipped = np.clip(region.polygons[0].outline, 0, extent).astype(np.float32)
    return bool(cv2.contourArea(clipped) > FRAME * size[0] * size[1])


def require_no_frame(regions: Sequence[Region], size: tuple[int, int], path: Path) -> None:
    """Refuse regions that hold most of the others: all that lies between them would be objects of their own.

    Args:
        regions: Those that are objects of one class.
        size: Height and width of the image.
        path: The file, for messages.
    """
    if len(regions) < 2:
        return
    points = [vertices(region) for region in regions]
    flat, starts = np.concatenate(points), np.cumsum([0, *map(len, points[:-1])])
    lowest, highest = (extreme.reduceat(flat, starts, axis=0) for extreme in (np.minimum, np.maximum))
    areas = (highest - lowest).prod(axis=1)
    held: dict[int, list[int]] = {}
    for frame in {int(areas.argmax()), *np.flatnonzero(areas > LARGER * np.median(areas)).tolist()}:
        is_near = ((lowest >= lowest[frame]) & (highest <= highest[frame])).all(axis=1)
        near = [i for i in np.flatnonzero(is_near).tolist() if i != frame]
        held[frame] = [i for i in near if _holds(regions[frame], points[i].mean(axis=0, keepdims=True))]
    within, frame = len(set().union(*held.values())), max(held, key=lambda each: len(held[each]))
    if (within >= FEW and 2 * within > len(regions) - 1) or (held[frame] and _covers(regions[frame], size)):
        raise DataError(
            f"{path}: {within} of {len(regions)} regions lie within others, such as region {frame + 1}, as in frames of"
            " what was annotated; remove these, draw what lies within as their holes, or name the layer of the objects"
            " by --option layer=NAME"
        )


def _holds(region: Region, points: Float64[np.ndarray, "P 2"]) -> bool:
    return any(
        contains(piece.outline, points) and not any(contains(hole, points) for hole in piece.holes)
        for piece in region.polygons
    )
