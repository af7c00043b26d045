"""MoNuSeg 2018: all nuclei in tissue of several organs (Kumar et al. 2017 and 2020)."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import cv2
import numpy as np

from histoseg.errors import DataError
from histoseg.files.annotations import read_xml
from histoseg.files.folders import by_name, make_key, pair, plain, require_unique, scan
from histoseg.files.images import read_image
from histoseg.sources._samples import make_sample
from histoseg.types import Entry, InstanceMap, Sample, Task

logger = logging.getLogger(__name__)

TASK = Task(
    name="monuseg",
    title="MoNuSeg",
    classes=("background", "nucleus"),
    mpp=0.25,  # 40x (Kumar et al. 2017, Sec. II-A); each XML states its own, 0.2456 to 0.2527.
    licence="CC BY-NC-SA 4.0",
    kind="instance",
    structure="nuclei",
    year=2020,  # With its test set (Kumar et al. 2020).
    reserve=1,  # Stands in for Lizard together with CoNSeP.
)

NAME = r"TCGA-[^.]+"
BARCODE = re.compile(r"TCGA-\w{2}-\w{4}")  # Project, tissue source site, participant.
REMEDY = "fetch the file again"


def entries(root: Path) -> list[Entry]:
    """The images of the training and the test archive, pairs checked, no pixel read."""
    folders = scan(root)
    images = by_name(folders, NAME + r"\.tiff?", _is_monuseg)
    annotations = by_name(folders, NAME + r"\.xml", _is_monuseg)
    wanted = "Tissue Images/TCGA-*.tif with Annotations/TCGA-*.xml, or MoNuSegTestData"
    pairs = pair(root, TASK.title, wanted, images, annotations)
    return require_unique([_entry(files) for files in pairs.values()])


def _is_monuseg(folder: Path) -> bool:
    """Whether files in the folder belong to MoNuSeg; other folders may hold slides of TCGA."""
    return plain(folder.name) in ("tissueimages", "annotations") or "monuseg" in plain(folder.name)


def _entry(files: dict[str, Path]) -> Entry:
    image = files["image"]
    barcode = BARCODE.match(image.name)
    if barcode is None:
        raise DataError(
            f"{image}: its name has no TCGA barcode such as TCGA-A7-A13E, which identifies the patient;"
            " restore the published name"
        )
    return Entry(key=make_key(image.stem), patient=barcode[0], person=barcode[0], files=files)


def read(entry: Entry) -> Sample:
    """One image; each outlined region is an object, and their union is class 1."""
    image = read_image(entry.files["image"])
    root = read_xml(entry.files["annotation"])
    height, width = image.shape[:2]
    instance_map = number_regions(_polygons(root, entry.files["annotation"]), (height, width))
    semantic_map, mpp = (instance_map > 0).astype(np.uint8), _mpp(root, entry.files["annotation"])
    return make_sample(entry, TASK, image, semantic_map, instance_map, mpp)


def _mpp(root: Element, path: Path) -> float:
    """The resolution that the file states, else that of the data set."""
    text = root.get("MicronsPerPixel") or str(TASK.mpp)
    try:
        mpp = float(text)
    except ValueError:
        raise DataError(f"{path}: MicronsPerPixel is {text!r}; expected a number; {REMEDY}") from None
    if not 0 < mpp < 100:
        raise DataError(f"{path}: MicronsPerPixel is {mpp}; expected one near {TASK.mpp}; {REMEDY}")
    return mpp


def _polygons(root: Element, path: Path) -> list[np.ndarray]:
    """The vertices (x, y) of each region; regions of fewer than three enclose nothing: left out and counted."""
    if root.tag != "Annotations":
        raise DataError(f"{path}: root element {root.tag}; expected Annotations as Aperio writes; {REMEDY}")
    try:
        regions = [
            np.array([(float(vertex.attrib["X"]), float(vertex.attrib["Y"])) for vertex in region.iter("Vertex")])
            for region in root.iter("Region")
        ]
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: a vertex without the numbers X and Y ({error}); {REMEDY}") from error
    polygons = [region for region in regions if len(region) >= 3]
    if dropped := len(regions) - len(polygons):
        logger.info("%s: %s regions with fewer than three vertices left out", path, dropped)
    return polygons


def number_regions(polygons: Sequence[np.ndarray], size: tuple[int, int]) -> InstanceMap:
    """1 within the first polygon, its edge included, 2 within the second: a later one covers an earlier one.

    Vertices may lie outside the image. Polygons are filled one by one: OpenCV clears overlaps of those filled together.
    """
    instance_map = np.zeros(size, np.int32)
    for number, polygon in enumerate(polygons, start=1):
        cv2.fillPoly(instance_map, [np.round(polygon).astype(np.int32)], number)
    return instance_map
