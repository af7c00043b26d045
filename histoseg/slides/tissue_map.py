"""Classes of tissue of a slide as a small image: a pixel is a square of the slide, see `histoseg.slides.class_map`."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tifffile
from pydantic import ValidationError

from histoseg.errors import DataError
from histoseg.slides.class_map import ClassMapAbout, cut_tiles, write_class_map
from histoseg.types import SemanticMap

Number = int | float


@dataclass(frozen=True, kw_only=True)
class TissueMap:
    """Classes of tissue by square; the first square is in the slide's upper left corner."""

    class_map: SemanticMap
    classes: tuple[str, ...]  # By their number in the map
    colours: tuple[str, ...]  # As #RRGGBB
    square_px: Number  # Side of a square in base pixels
    mpp: Number  # Microns per base pixel


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
    about = ClassMapAbout(classes=tuple(classes), colours=tuple(colours), square_px=square_px, mpp=mpp)
    size_px = class_map.shape[0], class_map.shape[1]
    write_class_map(path, size_px, lambda step: cut_tiles(iter([class_map[::step, ::step]])), about)


def read_tissue(path: Path) -> TissueMap:
    """Read a map of classes of tissue.

    Raises:
        DataError: If it is not such a file, or is damaged.
    """
    try:
        with tifffile.TiffFile(path) as tiff:
            about = ClassMapAbout.model_validate_json(tiff.pages.first.description)
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
