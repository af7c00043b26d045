"""MoNuSeg 2018: all nuclei in tissue of several organs (Kumar et al. 2017 and 2020)."""

import re
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from histoseg.errors import DataError
from histoseg.files.annotations import read_xml
from histoseg.files.folders import LOSSLESS, by_image_name, by_name, make_key, pair, plain, require_unique, scan
from histoseg.files.images import read_image
from histoseg.files.imagescope import REMEDY, regions_of
from histoseg.files.layers import choose_layer, require_no_frame
from histoseg.files.regions import draw_polygons
from histoseg.sources._samples import make_sample
from histoseg.types import Entry, Sample, Task, is_credible_mpp, say_credible_mpp

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


def entries(root: Path, *, layer: str = "") -> list[Entry]:
    """The images of the training and the test archive, pairs checked, no pixel read.

    layer: The layer of the annotations that outlines nuclei, by its name; needed where several have regions.
    """
    folders = scan(root)
    images = by_image_name(folders, NAME, ("tiff?", LOSSLESS), _is_monuseg)
    annotations = by_name(folders, NAME + r"\.xml", _is_monuseg)
    wanted = "Tissue Images/TCGA-*.tif with Annotations/TCGA-*.xml, or MoNuSegTestData"
    pairs = pair(root, TASK.title, wanted, images, annotations)
    return require_unique([_entry(files, layer) for files in pairs.values()])


def _is_monuseg(folder: Path) -> bool:
    """Whether files in the folder belong to MoNuSeg; other folders may hold slides of TCGA."""
    return plain(folder.name) in ("tissueimages", "annotations") or "monuseg" in plain(folder.name)


def _entry(files: dict[str, Path], layer: str) -> Entry:
    image = files["image"]
    barcode = BARCODE.match(image.name.upper())
    if barcode is None:
        raise DataError(
            f"{image}: its name has no TCGA barcode such as TCGA-A7-A13E, which identifies the patient;"
            " restore the published name"
        )
    key = make_key(image.stem)
    return Entry(key=key, patient=barcode[0], person=barcode[0], files=files, options={"layer": layer})


def read(entry: Entry) -> Sample:
    """One image; each outlined region is an object, its edge included, and their union is class 1."""
    image = read_image(entry.files["image"])
    path = entry.files["annotation"]
    root = read_xml(path)
    size = (image.shape[0], image.shape[1])
    regions = choose_layer(regions_of(root, path), size, path, entry.options.get("layer", ""))
    require_no_frame(regions, size, path)
    instance_map = draw_polygons(regions, size, path, with_edges=True).instance_map
    semantic_map = (instance_map > 0).astype(np.uint8)
    return make_sample(entry, TASK, image, semantic_map, instance_map, _mpp(root, path))


def _mpp(root: Element, path: Path) -> float:
    """The resolution that the file states, else that of the data set."""
    text = root.get("MicronsPerPixel") or str(TASK.mpp)
    try:
        mpp = float(text)
    except ValueError:
        raise DataError(f"{path}: MicronsPerPixel is {text!r}; expected a number; {REMEDY}") from None
    if not is_credible_mpp(mpp):
        raise DataError(f"{path}: MicronsPerPixel is {mpp}; expected {say_credible_mpp()}; {REMEDY}")
    return mpp
