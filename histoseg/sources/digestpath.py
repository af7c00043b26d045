"""DigestPath 2019, colonoscopy tissue: lesions in sections of the bowel (Da et al. 2022).

Public labels are regions of lesions; the glands and lumina that Cerberus was trained on were never published.
"""

import re
from pathlib import Path

import numpy as np

from histoseg.errors import ConfigError, DataError
from histoseg.files.folders import LOSSLESS, LOSSY, Folders, by_image_name, make_key, pair, plain, require_unique, scan
from histoseg.files.images import read_image
from histoseg.files.labels import read_labels
from histoseg.files.notes import note
from histoseg.sources._samples import make_sample
from histoseg.types import Entry, Sample, SemanticMap, Task

TASK = Task(
    name="digestpath",
    title="DigestPath",
    classes=("background", "lesion"),
    mpp=0.475,  # 20x of a KFBIO FK-Pro-120, as reported for slides of the same hospital; the files do not state it.
    licence="research use only (DigestPath 2019 challenge terms)",
    year=2022,
)

MASK = "_mask"
THRESHOLD = 127  # Masks are JPEG: edges of 0 and 255 ring.
RINGING = 64  # How far they do, at most.
MAX_BETWEEN = 0.1  # Of the pixels: more are no edges, but other labels.
SLIDE = re.compile(r"(?P<slide>.+?)_\d{4}-\d{2}-\d{2}[ _]\d{2}_\d{2}_\d{2}")  # Up to the time of the scan.
CASE = re.compile(r"\d{4}_\d+|[A-Za-z]*\d+(-\d+)?")  # Without the number of the block: 2018_61918_1-3, 18-09926A.


def entries(root: Path, *, negatives: str = "without") -> list[Entry]:
    """The images with lesions, and those without if `negatives` is "with"; pairs checked, no pixel read."""
    if negatives not in ("with", "without"):
        raise ConfigError(f"digestpath: no negatives {negatives!r}; choose from with, without")
    folders = scan(root)
    positive = _find(folders, "tissuetrainpos")
    images = {name: path for name, path in positive.items() if not name.lower().endswith(MASK)}
    masks = {name[: -len(MASK)]: path for name, path in positive.items() if name.lower().endswith(MASK)}
    pairs = pair(root, TASK.title, "tissue-train-pos-v1/*.jpg with *_mask.jpg", images, masks)
    found = [_entry(name, files) for name, files in pairs.items()]
    if negatives == "with":
        found += [_entry(name, {"image": path}) for name, path in _find(folders, "tissuetrainneg").items()]
    return require_unique(found)


def _find(folders: Folders, prefix: str) -> dict[str, Path]:
    """The images in folders whose name begins with the prefix; archives may nest a folder in one of the same name."""
    return by_image_name(folders, ".+", (LOSSY, LOSSLESS), lambda folder: plain(folder.name).startswith(prefix))


def _entry(name: str, files: dict[str, Path]) -> Entry:
    key = make_key(name)
    return Entry(key=key, patient=case_of(name) or key, files=files)


def case_of(name: str) -> str | None:
    """The case number before the time of the scan; None where the name has no time, as after renaming."""
    if (named := SLIDE.match(name)) is None:
        return None
    case = CASE.match(named["slide"])
    return make_key(case[0] if case else named["slide"])


def read(entry: Entry) -> Sample:
    """One image; an entry without annotation has no lesion."""
    image = read_image(entry.files["image"])
    if "annotation" in entry.files:
        semantic_map = _read_lesions(entry.files["annotation"])
    else:
        semantic_map = np.zeros(image.shape[:2], np.uint8)
    return make_sample(entry, TASK, image, semantic_map)


def _read_lesions(path: Path) -> SemanticMap:
    """1 where the mask is bright."""
    mask = read_labels(path, lossy=True)
    between = int(np.count_nonzero((mask > RINGING) & (mask < 255 - RINGING)))
    if 0 < mask.max(initial=0) <= THRESHOLD or between > MAX_BETWEEN * mask.size:
        raise DataError(
            f"{path}: {between} of {mask.size} pixels are neither near 0 nor near 255, and the highest is {mask.max()};"
            " expected 0 for no lesion and 255 for a lesion; fetch or write the mask again"
        )
    note("images with a mask that shows no lesion", int(not mask.any()))
    return (mask > THRESHOLD).astype(np.uint8)
