"""Boxes in the XML of Pascal VOC (Everingham et al. 2010), as annotation tools write it."""

import math
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from histoseg.errors import DataError
from histoseg.files.annotations import read_xml
from histoseg.files.notes import note
from histoseg.maps.boxes import areas, chosen, cut
from histoseg.types import Boxes

SIDES = ("xmin", "ymin", "xmax", "ymax")
REMEDY = "export the annotations again"


def read_voc(path: Path, numbers: dict[str, int], size: tuple[int, int]) -> Boxes:
    """The boxes of an image of that height and width, with the number of each one's class by its name.

    What lies outside of the image is cut off. Boxes without any area within it are left out and noted.

    Raises:
        DataError: If the file is of an image of another size, or an object has an unknown class or no box.
    """
    root = read_xml(path)
    _require_size(root, path, size)
    objects = root.findall("object")
    corners = np.array([_corners(one, path) for one in objects], np.float32).reshape(-1, 4)
    classes = np.array([_class(one, path, numbers) for one in objects], np.uint8)
    inside = cut(corners, size)
    is_empty = ~(areas(corners) > 0) | (corners[:, 2:] <= corners[:, :2]).any(axis=1)
    is_outside = ~is_empty & (inside[:, 2:] <= inside[:, :2]).any(axis=1)
    is_cut = ~is_empty & ~is_outside & (inside != corners).any(axis=1)
    note("boxes without area left out", int(is_empty.sum()))
    note("boxes outside of the image left out", int(is_outside.sum()))
    note("boxes cut at the border of the image", int(is_cut.sum()))
    return chosen(Boxes(corners=inside, classes=classes), ~is_empty & ~is_outside)


def _require_size(root: Element, path: Path, size: tuple[int, int]) -> None:
    stated = [root.findtext(f"size/{name}", "").strip() for name in ("height", "width")]
    if all(stated) and stated != list(map(str, size)):
        raise DataError(
            f"{path}: of an image of {stated[1]}x{stated[0]} px, but its image has {size[1]}x{size[0]} px;"
            " fetch both again"
        )


def _class(found: Element, path: Path, numbers: dict[str, int]) -> int:
    name = found.findtext("name", "").strip()
    if name not in numbers:
        raise DataError(f"{path}: an object of class {name!r}; expected {', '.join(numbers)}; correct its name")
    return numbers[name]


def _corners(found: Element, path: Path) -> list[float]:
    texts = [found.findtext(f"bndbox/{side}", "") for side in SIDES]
    try:
        sides = [float(text) for text in texts]
    except ValueError:
        sides = [math.nan]
    if not all(map(math.isfinite, sides)):
        raise DataError(
            f"{path}: an object whose box is {texts}; expected a number for each of {', '.join(SIDES)}; {REMEDY}"
        )
    return sides
