"""BreastPathQ 2019, cell labels: points on nuclei of breast tissue (Petrick et al. 2021)."""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import cv2
import numpy as np

from histoseg.demo import drawing as _drawing
from histoseg.errors import DataError
from histoseg.sources import _files
from histoseg.types import Entry, Sample, SemanticMap, Task

logger = logging.getLogger(__name__)

TASK = Task(
    name="breastpathq",
    title="BreastPathQ",
    classes=("background", "malignant epithelial", "normal epithelial", "lymphocyte"),
    mpp=0.5,  # 20x (Petrick et al. 2021).
    licence="research use only (SPIE-AAPM-NCI BreastPathQ challenge terms)",
)

RADIUS_PX = 12  # The disc each point becomes in MetaHistoSeg's benchmark (Yuan et al. 2021), whatever the nucleus.
# What annotators wrote, without blanks, signs and capitals: "MC- E" and "MC - C" occur side by side.
CLASSES = {
    **dict.fromkeys(("idc", "ilc", "mucc", "dcis1", "dcis2", "dcis3", "mce", "mcc", "mcm"), 1),
    **dict.fromkeys(("normal", "udh", "adh"), 2),
    **dict.fromkeys(("tile", "tils"), 3),
}


def entries(root: Path) -> list[Entry]:
    """The crops with cell labels, pairs checked, no pixel read. A patient is a slide: names tell no more.

    Raises:
        MissingSourceError: If there is neither crop nor key.
        DataError: If a crop or a key is missing.
    """
    folders = _files.scan(root)
    images = _files.by_name(_files.select(folders, r".+_crop\.tiff?"), lambda path: path.stem[: -len("_crop")])
    keys = _files.by_name(_files.select(folders, r".+_key\.xml"), lambda path: path.stem[: -len("_key")])
    if not images and not keys:
        raise _files.missing(root, TASK.title, "cells/*_crop.tif with cells/*_key.xml")
    _files.require_pairs(TASK.title, images, keys)
    return _files.require_unique(
        [
            Entry(key=_files.make_key(name), patient=_slide(name), files={"image": image, "annotation": keys[name]})
            for name, image in images.items()
        ]
    )


def _slide(name: str) -> str:
    number = re.match(r"\d+", name)
    return f"slide{number[0]}" if number else _files.make_key(name)


def read(entry: Entry) -> Sample:
    """One crop; each labelled point is a disc of its class.

    Raises:
        DataError: If a file is damaged or a point has no coordinates.
    """
    image = _files.read_image(entry.files["image"])
    path = entry.files["annotation"]
    points = _points(_files.read_xml(path, close_image), path)
    height, width = image.shape[:2]
    semantic_map = draw_discs(points, (height, width))
    return _files.make_sample(entry, image, semantic_map, num_classes=TASK.num_classes, mpp=TASK.mpp)


def close_image(text: bytes) -> bytes:
    """The text with `</image>` before `</session>`, which the published keys lack; all else is left as it is."""
    if b"</image>" in text or b"<image" not in text:
        return text
    return text.replace(b"</session>", b"</image></session>", 1)


def _points(root: Element, path: Path) -> list[tuple[int, int, int]]:
    """Each point as x, y, class, in the order of the file; those of unknown description are counted."""
    points = []
    ignored: Counter[str] = Counter()
    for graphic in root.iter("graphic"):
        description = graphic.get("description", "")
        found = [_position(point.text or "", path) for point in graphic.iter("point")]
        if (label := CLASSES.get(_files.plain(description))) is None:
            ignored[description] += len(found)
        else:
            points += [(x, y, label) for x, y in found]
    if ignored:
        logger.info("%s: points of unknown description left out: %s", path, dict(ignored))
    return points


def _position(text: str, path: Path) -> tuple[int, int]:
    try:
        x, y = (round(float(part)) for part in text.split(","))
    except ValueError:
        raise DataError(f"{path}: point {text!r}; expected two numbers as in 28,82; fetch the file again") from None
    return x, y


def draw_discs(points: Sequence[tuple[int, int, int]], size: tuple[int, int]) -> SemanticMap:
    """A disc about each x, y of its class; a later one covers an earlier one."""
    semantic_map = np.zeros(size, np.uint8)
    for x, y, label in points:
        cv2.circle(semantic_map, (x, y), RADIUS_PX, label, -1)
    return semantic_map


KINDS = (  # Description, its nuclei, and the distance between them.
    ("IDC", _drawing.Cell(radius_px=9.0, length=1.25, spread=0.3, dark=0.95), 30.0),
    ("normal", _drawing.Cell(radius_px=6.0, length=1.5, spread=0.1, dark=0.8), 25.0),
    ("TIL-E", _drawing.Cell(radius_px=4.2, length=1.05, spread=0.08, dark=1.45), 21.0),
)


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write twelve made-up crops of ten slides in the published layout, the keys with the published fault."""
    folder = root / "BreastPathQ" / "breastpathq" / "datasets" / "cells"
    for i in range(12):
        name = f"{101 + i % 10}_Region {i // 10 + 1}"
        image, points = _draw(rng)
        _files.write_image(folder / f"{name}_crop.tif", image, compression="tiff_lzw")
        (folder / f"{name}_key.xml").write_bytes(_session(name, points).encode())


def _draw(rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Stroma with one patch per kind of cell, and the positions of the nuclei by description."""
    size = (int(rng.integers(256, 321)), int(rng.integers(256, 321)))
    canvas, stain = _drawing.draw_stroma(size, rng), _drawing.draw_stain(rng)
    heights = np.stack([_drawing.noise(size, 85.0, rng) for _ in range(4)])
    owner = heights.argmax(axis=0)  # The last one is bare stroma.
    _drawing.add_nuclei(canvas, _drawing.scatter(owner == 3, 34.0, rng), _drawing.SPINDLE, rng)
    points = {}
    for i, (description, cell, spacing) in enumerate(KINDS):
        if description != "TIL-E":  # Lymphocytes lie in the stroma; epithelium brings its own cytoplasm.
            _drawing.add_tissue(canvas, owner == i, haematoxylin=0.2, eosin=0.45 - 0.15 * i, rng=rng)
        points[description] = _drawing.scatter(owner == i, spacing, rng)
        _drawing.add_nuclei(canvas, points[description], cell, rng)
    return _drawing.render(canvas, stain, rng), points


def _session(name: str, points: dict[str, np.ndarray]) -> str:
    """A key as published: CRLF ends, and no `</image>`."""
    graphics = []
    for i, (description, centres) in enumerate(points.items(), start=1):
        listed = "\n".join(f"                    <point>{round(x)},{round(y)}</point>" for x, y in centres)
        graphics.append(
            f'            <graphic type="point" name="Region {i}" description="{description}">\n'
            f"                <point-list>\n{listed}\n                </point-list>\n            </graphic>"
        )
    text = (
        '<?xml version="1.0"?>\n<session software="PathCore Session Printer" version="0.1.0">\n'
        f'    <image identifier="{name}_crop.tif">\n        <overlays>\n'
        + "\n".join(graphics)
        + "\n        </overlays>\n</session>"
    )
    return text.replace("\n", "\r\n")
