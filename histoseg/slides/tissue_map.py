"""Classes of tissue of a slide as a small image: a pixel is a square of the slide, its colour a class.

The file is a pyramidal, tiled TIFF with a palette, which QGIS, Fiji and tifffile show in its colours. Its resolution
is that of the squares, so a program that reads it lays it over the slide; its description is JSON with the names.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from jaxtyping import UInt8, UInt16
from pydantic import BaseModel, ValidationError

from histoseg.errors import DataError
from histoseg.maps.colours import to_rgb
from histoseg.store.objects import whole_file
from histoseg.types import SemanticMap

TILE_PX = 256
UM_PER_CM = 10_000
Number = int | float


@dataclass(frozen=True, kw_only=True)
class TissueMap:
    """Classes of tissue by square; the first square is in the slide's upper left corner."""

    class_map: SemanticMap
    classes: tuple[str, ...]  # By their number in the map
    colours: tuple[str, ...]  # As #RRGGBB
    square_px: Number  # Side of a square in base pixels
    mpp: Number  # Microns per base pixel


class _Description(BaseModel):
    """What the file says of itself."""

    histoseg: str = "tissue"
    classes: tuple[str, ...]
    colours: tuple[str, ...]
    square_px: float
    mpp: float


def write_tissue(
    path: Path,
    class_map: SemanticMap,
    classes: Sequence[str],
    colours: Sequence[str],
    square_px: Number,
    mpp: Number,
) -> None:
    """Write a map of classes of tissue.

    Raises:
        ValueError: If names and colours differ in number, or the map has a class without a name.
        StorageError: If the file cannot be written; nothing of it is left.
    """
    if len(classes) != len(colours) or class_map.max(initial=0) >= len(classes):
        found = f"{len(classes)} classes, {len(colours)} colours and a map of classes up to {class_map.max(initial=0)}"
        raise ValueError(f"{found} do not fit each other")
    if not class_map.size:
        raise ValueError(f"a map of {class_map.shape} has no squares")
    about = _Description(classes=tuple(classes), colours=tuple(colours), square_px=square_px, mpp=mpp)
    levels = [*_levels(class_map)]
    with whole_file(path) as part, tifffile.TiffWriter(part) as tiff:
        for number, level in enumerate(levels):
            tiff.write(
                level,
                photometric="palette",
                colormap=_palette(colours),
                tile=(TILE_PX, TILE_PX),
                compression="zlib",
                predictor=False,
                subifds=0 if number else len(levels) - 1,
                subfiletype=1 if number else 0,
                resolution=(UM_PER_CM / (square_px * mpp * 2**number),) * 2,
                resolutionunit="CENTIMETER",
                description=None if number else about.model_dump_json(),
                software=None if number else "histoseg",
                metadata=None,
            )


def read_tissue(path: Path) -> TissueMap:
    """Read a map of classes of tissue.

    Raises:
        DataError: If it is not such a file, or is damaged.
    """
    try:
        with tifffile.TiffFile(path) as tiff:
            about = _Description.model_validate_json(tiff.pages.first.description)
            class_map = tiff.pages.first.asarray()
    except ValidationError as error:
        raise DataError(f"{path}: does not name classes of tissue; expected the tissue.tif of `histoseg`") from error
    except (OSError, ValueError, RuntimeError, struct.error, tifffile.TiffFileError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: cannot be read as TIFF ({reason}); segment the slide again") from error
    return TissueMap(
        class_map=class_map,
        classes=about.classes,
        colours=about.colours,
        square_px=about.square_px,
        mpp=about.mpp,
    )


def _levels(class_map: SemanticMap) -> Iterator[SemanticMap]:
    """The map, then every second pixel of the level before, until one tile holds all."""
    yield class_map
    while max(class_map.shape) > TILE_PX:
        class_map = np.ascontiguousarray(class_map[::2, ::2])
        yield class_map


def _palette(colours: Sequence[str]) -> UInt16[np.ndarray, "3 256"]:
    """Red, green and blue of each class in 16 bits (TIFF 6.0, Sec. 5); black for numbers without a class."""
    palette = np.zeros((3, 256), np.uint16)
    rgb: UInt8[np.ndarray, "C 3"] = np.array([to_rgb(colour) for colour in colours], np.uint8)
    palette[:, : len(colours)] = 257 * rgb.T.astype(np.uint16)
    return palette
