"""MoNuSeg 2018: all nuclei in tissue of several organs (Kumar et al. 2017 and 2020)."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import cv2
import numpy as np

from histoseg.demo import drawing as _drawing
from histoseg.errors import DataError
from histoseg.sources import _files
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
)

NAME = r"TCGA-[^.]+"
BARCODE = re.compile(r"TCGA-\w{2}-\w{4}")  # Project, tissue source site, participant.
REMEDY = "fetch the file again"


def entries(root: Path) -> list[Entry]:
    """The images of the training and the test archive, pairs checked, no pixel read.

    Raises:
        MissingSourceError: If there is no TIF with a TCGA barcode and an XML.
        DataError: If a pair is incomplete or a barcode is none.
    """
    folders = _files.scan(root)
    images = _files.by_name(_files.select(folders, NAME + r"\.tiff?", _is_monuseg), lambda path: path.stem)
    annotations = _files.by_name(_files.select(folders, NAME + r"\.xml", _is_monuseg), lambda path: path.stem)
    if not images and not annotations:
        raise _files.missing(
            root, TASK.title, "Tissue Images/TCGA-*.tif with Annotations/TCGA-*.xml, or MoNuSegTestData"
        )
    _files.require_pairs(TASK.title, images, annotations)
    return _files.require_unique([_entry(image, annotations[name]) for name, image in images.items()])


def _is_monuseg(folder: Path) -> bool:
    """Whether files here belong to the set; slides of TCGA may lie in other folders beside it."""
    return _files.plain(folder.name) in ("tissueimages", "annotations") or "monuseg" in _files.plain(folder.name)


def _entry(image: Path, annotation: Path) -> Entry:
    barcode = BARCODE.match(image.name)
    if barcode is None:
        raise DataError(f"{image}: its name has no TCGA barcode such as TCGA-A7-A13E, which names the patient")
    files = {"image": image, "annotation": annotation}
    return Entry(key=_files.make_key(image.stem), patient=barcode[0], person=barcode[0], files=files)


def read(entry: Entry) -> Sample:
    """One image; each outlined region is an object, and their union is class 1.

    Raises:
        DataError: If a file is damaged or a vertex has no coordinates.
    """
    image = _files.read_image(entry.files["image"])
    root = _files.read_xml(entry.files["annotation"])
    height, width = image.shape[:2]
    instance_map = number_regions(_polygons(root, entry.files["annotation"]), (height, width))
    return _files.make_sample(
        entry,
        image,
        (instance_map > 0).astype(np.uint8),
        num_classes=TASK.num_classes,
        mpp=_mpp(root, entry.files["annotation"]),
        instance_map=instance_map,
    )


def _mpp(root: Element, path: Path) -> float:
    """The stated resolution, or that of the data set where none is stated."""
    text = root.get("MicronsPerPixel") or str(TASK.mpp)
    try:
        mpp = float(text)
    except ValueError:
        raise DataError(f"{path}: MicronsPerPixel is {text!r}; expected a number; {REMEDY}") from None
    if not 0 < mpp < 100:
        raise DataError(f"{path}: MicronsPerPixel is {mpp}; expected one near {TASK.mpp}; {REMEDY}")
    return mpp


def _polygons(root: Element, path: Path) -> list[np.ndarray]:
    """The vertices (x, y) of each region with at least three; fewer enclose nothing, and are counted."""
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

    Vertices may lie outside the image. Each is filled on its own: all at once would clear where two overlap.
    """
    instance_map = np.zeros(size, np.int32)
    for number, polygon in enumerate(polygons, start=1):
        cv2.fillPoly(instance_map, [np.round(polygon).astype(np.int32)], number)
    return instance_map


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write ten made-up training and three test images, each of its own patient, in both published layouts."""
    train = root / "MoNuSeg" / "MoNuSeg 2018 Training Data"
    for i in range(13):
        image, polygons = _draw(rng)
        xml = _aperio(polygons, mpp="" if i == 0 else ' MicronsPerPixel="0.252000"')
        if i < 10:
            name = f"TCGA-A{i % 4}-A1{i:02}-01Z-00-DX1"
            tif, note = train / "Tissue Images" / f"{name}.tif", train / "Annotations" / f"{name}.xml"
        else:
            tif = root / "MoNuSeg" / "MoNuSegTestData" / f"TCGA-B{i % 4}-B1{i:02}-01A-01-TS1.tif"
            note = tif.with_suffix(".xml")
        _files.write_image(tif, image, compression=("tiff_lzw", "packbits", None)[i % 3])
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(xml, encoding="utf-8")


def _draw(rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """Stroma with spindle nuclei, and nests of epithelium with round ones."""
    size = (256, 256)
    canvas, stain = _drawing.draw_stroma(size, rng), _drawing.draw_stain(rng)
    nests = _drawing.noise(size, 70.0, rng) > 0.1
    _drawing.add_tissue(canvas, nests, haematoxylin=0.16, eosin=0.4, rng=rng)
    spindle = _drawing.Cell(radius_px=5.0, length=2.6, dark=0.85)
    polygons = _drawing.add_nuclei(canvas, _drawing.scatter(~nests, 30.0, rng), spindle, rng)
    spacing = float(rng.uniform(19, 25))
    large = _drawing.Cell(radius_px=spacing * 0.36, length=1.3, spread=0.25)
    polygons += _drawing.add_nuclei(canvas, _drawing.scatter(nests, spacing, rng), large, rng)
    return _drawing.render(canvas, stain, rng), list(polygons)


def _aperio(polygons: Sequence[np.ndarray], mpp: str) -> str:
    """The outlines as Aperio's ImageScope writes them."""
    regions = "".join(
        f'\t\t\t<Region Id="{number}" Type="0" NegativeROA="0">\n\t\t\t\t<Attributes/>\n\t\t\t\t<Vertices>\n'
        + "".join(f'\t\t\t\t\t<Vertex X="{x}" Y="{y}"/>\n' for x, y in polygon)
        + "\t\t\t\t</Vertices>\n\t\t\t</Region>\n"
        for number, polygon in enumerate(polygons, start=1)
    )
    return (
        f'<Annotations{mpp}>\n\t<Annotation Id="1" Name="" Type="4" Visible="1">\n\t\t<Regions>\n'
        f"{regions}\t\t</Regions>\n\t</Annotation>\n</Annotations>\n"
    )
