"""DigestPath 2019, signet ring cells: boxes around cells in sections of stomach and bowel (Da et al. 2022).

The public training part has 77 images with cells and 378 without. Where cells crowd, not all are annotated.
"""

from pathlib import Path

from histoseg.files.folders import (
    LOSSLESS,
    LOSSY,
    Folders,
    by_image_name,
    by_name,
    make_key,
    pair,
    plain,
    require_unique,
    scan,
)
from histoseg.files.images import read_image
from histoseg.files.voc import read_voc
from histoseg.maps.boxes import NO_BOXES
from histoseg.sources._samples import make_box_sample
from histoseg.sources.digestpath import case_of
from histoseg.types import Entry, Sample, Task

TASK = Task(
    name="digestpath_signet",
    title="DigestPath signet ring cells",
    classes=("background", "signet ring cell"),
    # Names state level 0 of the scans whose level 1 is 0.475 (see `digestpath`); the files do not state it.
    mpp=0.2375,
    licence="research use only (DigestPath 2019 challenge terms)",
    kind="boxes",
    year=2022,
)
CLASSES = {"ring_cell_cancer": 1}  # As the XML names it
POSITIVE, NEGATIVE = "sigtrainpos", "sigtrainneg"


def entries(root: Path) -> list[Entry]:
    """The images with cells and those without, pairs checked, no pixel read."""
    folders = scan(root)
    images = _find(folders, POSITIVE)
    annotations = by_name(folders, r".+\.xml", lambda folder: plain(folder.name).startswith(POSITIVE))
    pairs = pair(root, TASK.title, "sig-train-pos/*.jpeg with *.xml", images, annotations)
    files = pairs | {name: {"image": path} for name, path in _find(folders, NEGATIVE).items()}
    return require_unique([_entry(name, own) for name, own in files.items()])


def _find(folders: Folders, prefix: str) -> dict[str, Path]:
    """The images in folders whose name begins with the prefix; archives may nest a folder in one of the same name."""
    return by_image_name(folders, ".+", (LOSSY, LOSSLESS), lambda folder: plain(folder.name).startswith(prefix))


def _entry(name: str, files: dict[str, Path]) -> Entry:
    key = make_key(name)
    return Entry(key=key, patient=case_of(name) or key, files=files)


def read(entry: Entry) -> Sample:
    """One image; an entry without annotation has no cell."""
    image = read_image(entry.files["image"])
    size = (image.shape[0], image.shape[1])
    boxes = read_voc(entry.files["annotation"], CLASSES, size) if "annotation" in entry.files else NO_BOXES
    return make_box_sample(entry, TASK, image, boxes)
