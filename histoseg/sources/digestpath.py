"""DigestPath 2019, colonoscopy tissue: lesions in sections of the bowel (Da et al. 2022).

Public labels are regions of lesions; the glands and lumina that Cerberus was trained on were never published.
"""

import re
from pathlib import Path

import numpy as np

from histoseg.demo import drawing as _drawing
from histoseg.errors import ConfigError
from histoseg.sources import _files
from histoseg.types import Entry, Sample, Task

TASK = Task(
    name="digestpath",
    title="DigestPath",
    classes=("background", "lesion"),
    mpp=0.475,  # 20x of the KFBIO FK-Pro-120, as others report for slides of the same hospital; not in the files.
    licence="research use only (DigestPath 2019 challenge terms)",
)

THRESHOLD = 127  # Masks are JPEG: edges of 0 and 255 ring.
SLIDE = re.compile(r"(?P<slide>.+?)_\d{4}-\d{2}-\d{2}[ _]\d{2}_\d{2}_\d{2}")  # Up to the time of the scan.
CASE = re.compile(r"\d{4}_\d+|[A-Za-z]*\d+(-\d+)?")  # Without the number of the block: 2018_61918_1-3, 18-09926A.


def entries(root: Path, *, negatives: str = "without") -> list[Entry]:
    """The images with lesions, and those without if `negatives` is "with"; pairs checked, no pixel read.

    Raises:
        ConfigError: If `negatives` is neither "with" nor "without".
        MissingSourceError: If no folder of the published names is there.
        DataError: If a mask or an image is missing.
    """
    if negatives not in ("with", "without"):
        raise ConfigError(f"digestpath: no negatives {negatives!r}; choose from with, without")
    folders = _files.scan(root)
    positive = _jpegs(folders, "tissuetrainpos")
    images = {name: path for name, path in positive.items() if not name.endswith("_mask")}
    masks = {name.removesuffix("_mask"): path for name, path in positive.items() if name.endswith("_mask")}
    if not images and not masks:
        raise _files.missing(root, TASK.title, "tissue-train-pos-v1/*.jpg with *_mask.jpg")
    _files.require_pairs(TASK.title, images, masks)
    found = [_entry(name, {"image": image, "annotation": masks[name]}) for name, image in images.items()]
    if negatives == "with":
        found += [_entry(name, {"image": path}) for name, path in _jpegs(folders, "tissuetrainneg").items()]
    return _files.require_unique(found)


def _jpegs(folders: _files.Folders, prefix: str) -> dict[str, Path]:
    """The JPEGs in folders whose name begins so; archives may nest a folder in one of the same name."""
    paths = _files.select(folders, r".+\.jpe?g", lambda folder: _files.plain(folder.name).startswith(prefix))
    return _files.by_name(paths, lambda path: path.stem)


def _entry(name: str, files: dict[str, Path]) -> Entry:
    key = _files.make_key(name)
    return Entry(key=key, patient=_patient(name) or key, files=files)


def _patient(name: str) -> str | None:
    """The case number before the time of the scan; None where the name has no time, as after renaming."""
    if (named := SLIDE.match(name)) is None:
        return None
    case = CASE.match(named["slide"])
    return _files.make_key(case[0] if case else named["slide"])


def read(entry: Entry) -> Sample:
    """One image; an entry without annotation has no lesion.

    Raises:
        DataError: If a file is damaged or the two differ in size.
    """
    image = _files.read_image(entry.files["image"])
    if "annotation" in entry.files:
        semantic_map = (_files.read_labels(entry.files["annotation"]) > THRESHOLD).astype(np.uint8)
    else:
        semantic_map = np.zeros(image.shape[:2], np.uint8)
    return _files.make_sample(entry, image, semantic_map, num_classes=TASK.num_classes, mpp=TASK.mpp)


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write eight made-up images with lesions and two without, of eight patients, in the published layout."""
    folder = root / "DigestPath" / "Colonoscopy_tissue_segment_dataset"
    for i in range(8):
        stain = _drawing.draw_stain(rng)
        image, lesion = _draw(stain, rng, has_lesion=True)
        name = f"2018_{61900 + 7 * i}_1-{i % 3 + 1}_2019-02-2{i} 21_58_2{i}-lv1-{1000 + i}-2000-500-500"
        _files.write_image(folder / "tissue-train-pos-v1" / f"{name}.jpg", image, quality=92)
        mask = lesion.astype(np.uint8) * 255
        _files.write_image(folder / "tissue-train-pos-v1" / f"{name}_mask.jpg", mask, quality=92)
        if i < 2:
            image, _ = _draw(stain, rng, has_lesion=False)
            _files.write_image(folder / "tissue-train-neg" / f"{name.replace('lv1', 'lv1-neg')}.jpg", image, quality=92)


def _draw(stain: _drawing.Stain, rng: np.random.Generator, *, has_lesion: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mucosa of round pale crypts, and the region in which crowded dark glands took their place."""
    size = (int(rng.integers(400, 521)), int(rng.integers(400, 521)))
    canvas = _drawing.draw_stroma(size, rng)
    _drawing.add_nuclei(canvas, _drawing.scatter(np.ones(size, bool), 15.0, rng), _drawing.Cell(radius_px=2.2), rng)
    centre = rng.uniform(0.3, 0.7, 2) * (size[1], size[0])
    radius = float(rng.uniform(0.24, 0.38) * min(size)) if has_lesion else 1.0
    lesion = _drawing.fill(size, _drawing.outline(centre, radius, rng, wobble=0.2)) & has_lesion
    for spot, reach in _drawing.pack(size, (17.0, 27.0), 110, rng, gap=1.1):
        if not lesion[_drawing.pixel(spot, size)]:
            curve = _drawing.outline(spot, reach, rng, 0.05)
            _drawing.add_gland(canvas, curve, _drawing.Cell(radius_px=2.1, dark=0.85), rng, lumen=0.5)
    _add_lesion(canvas, lesion, rng)
    return _drawing.render(canvas, stain, rng), lesion


def _add_lesion(canvas: _drawing.Canvas, lesion: np.ndarray, rng: np.random.Generator) -> None:
    _drawing.add_tissue(canvas, lesion, haematoxylin=0.28, eosin=0.45, rng=rng)
    cell = _drawing.Cell(radius_px=2.7, length=1.7, dark=1.15, spread=0.3)
    _drawing.add_nuclei(canvas, _drawing.scatter(_drawing.shrink(lesion, 4), 8.0, rng), cell, rng)
    for spot in _drawing.scatter(_drawing.shrink(lesion, 22), 44.0, rng):
        curve = _drawing.outline(spot, float(rng.uniform(12, 19)), rng, wobble=0.22)
        _drawing.add_gland(canvas, curve, cell, rng, lumen=float(rng.uniform(0.25, 0.5)))
