"""BreastPathQ 2019, cell labels: points on nuclei of breast tissue (Petrick et al. 2021)."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import cv2
import numpy as np

from histoseg.errors import DataError
from histoseg.files.annotations import read_xml
from histoseg.files.folders import LOSSLESS, by_image_name, by_name, make_key, pair, plain, require_unique, scan
from histoseg.files.images import read_image
from histoseg.files.left_out import leave_out
from histoseg.sources._samples import make_sample
from histoseg.types import Entry, Sample, SemanticMap, Task

TASK = Task(
    name="breastpathq",
    title="BreastPathQ",
    classes=("background", "malignant epithelial", "normal epithelial", "lymphocyte"),
    mpp=0.5,  # 20x (Petrick et al. 2021).
    licence="research use only (SPIE-AAPM-NCI BreastPathQ challenge terms)",
    year=2021,
)

RADIUS_PX = 12  # MetaHistoSeg's benchmark draws this disc at each point (Yuan et al. 2021), whatever the nucleus' size.
# What annotators wrote, as `plain` reads it: "MC- E" and "MC - C" occur side by side.
CLASSES = {
    **dict.fromkeys(("idc", "ilc", "mucc", "dcis1", "dcis2", "dcis3", "mce", "mcc", "mcm"), 1),
    **dict.fromkeys(("normal", "udh", "adh"), 2),
    **dict.fromkeys(("tile", "tils"), 3),
}


def entries(root: Path) -> list[Entry]:
    """The crops with cell labels, pairs checked, no pixel read. Names state no patients: each slide is one."""
    folders = scan(root)
    images = by_image_name(folders, ".+_crop", ("tiff?", LOSSLESS), name=lambda path: path.stem[: -len("_crop")])
    keys = by_name(folders, r".+_key\.xml", name=lambda path: path.stem[: -len("_key")])
    pairs = pair(root, TASK.title, "cells/*_crop.tif with cells/*_key.xml", images, keys)
    return require_unique(
        [Entry(key=make_key(name), patient=_slide(name), files=files) for name, files in pairs.items()]
    )


def _slide(name: str) -> str:
    number = re.match(r"\d+", name)
    return f"slide{number[0]}" if number else make_key(name)


def read(entry: Entry) -> Sample:
    """One crop; each labelled point is a disc of its class."""
    image = read_image(entry.files["image"])
    path = entry.files["annotation"]
    size = (image.shape[0], image.shape[1])
    points = _visible(_points(read_xml(path, close_image), path), size, path)
    return make_sample(entry, TASK, image, draw_discs(points, size))


def close_image(text: bytes) -> bytes:
    """The text with the `</image>` that published keys lack before `</session>`."""
    if b"</image>" in text or b"<image" not in text:
        return text
    return text.replace(b"</session>", b"</image></session>", 1)


def _points(root: Element, path: Path) -> list[tuple[int, int, int]]:
    """Each point as x, y, class, in the order of the file; points of unknown description are left out and counted."""
    points = []
    unknown: Counter[str] = Counter()
    for graphic in root.iter("graphic"):
        description = graphic.get("description", "")
        found = [_position(point.text or "", path) for point in graphic.iter("point")]
        if (label := CLASSES.get(plain(description))) is None:
            unknown[description] += len(found)
        else:
            points += [(x, y, label) for x, y in found]
    descriptions = ", ".join(repr(name) for name, _ in unknown.most_common(3))
    remedy = f"their descriptions, such as {descriptions}, are not those of BreastPathQ; correct them in the file"
    what = "points of unknown description"
    leave_out(path, what, unknown.total(), unknown.total() + len(points), remedy)
    return points


def _position(text: str, path: Path) -> tuple[int, int]:
    try:
        x, y = (round(float(part)) for part in text.split(","))
    except (ValueError, OverflowError):  # Not-a-number and infinity have no integer.
        raise DataError(f"{path}: point {text!r}; expected two numbers as in 28,82; fetch the file again") from None
    return x, y


def _visible(points: Sequence[tuple[int, int, int]], size: tuple[int, int], path: Path) -> list[tuple[int, int, int]]:
    """The points whose discs have pixels in the image; the others are left out and counted."""
    height, width = size
    reach = RADIUS_PX
    seen = [(x, y, label) for x, y, label in points if -reach <= x < width + reach and -reach <= y < height + reach]
    remedy = f"the image has {width}x{height} px; take the key of this crop"
    leave_out(path, "points outside the image", len(points) - len(seen), len(points), remedy)
    return seen


def draw_discs(points: Sequence[tuple[int, int, int]], size: tuple[int, int]) -> SemanticMap:
    """A disc of its class at each x, y; a later one covers an earlier one."""
    semantic_map = np.zeros(size, np.uint8)
    for x, y, label in points:
        cv2.circle(semantic_map, (x, y), RADIUS_PX, label, -1)
    return semantic_map
