"""Regions of slides with their truth: outlines drawn in QuPath, or label images with their place on the slide.

A folder of truth has any of

    <slide>.geojson                                    exported from QuPath, in pixels of the slide. Each polygon of
                                                       class Region is a region that was annotated; the others are
                                                       objects: "gland", "nucleus", or a class of the model's, such as
                                                       "lymphocyte" or "nuclei: lymphocyte". Ignore is not scored.
    <structure>/<slide>_x<left>_y<top>_mpp<mpp>.png    a label image whose values number objects (or .tif, .npy, .mat),
                                                       by its upper left corner in pixels of the slide; without _mpp it
                                                       has the slide's own resolution
    regions.json                                       label images of any name, perhaps with classes: see `LabelImage`
"""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from histoseg.errors import DataError
from histoseg.scoring._truth_drawn import read_drawn
from histoseg.scoring._truth_labels import LIST, LabelImage, list_images, read_image
from histoseg.scoring._truth_region import TruthRegion
from histoseg.slides.summary import Summary


def find_truth(folder: Path) -> dict[str, list[Path | LabelImage]]:
    """Where each slide's truth lies: files of outlines, and label images.

    Raises:
        DataError: If there is none, or the list of label images cannot be read.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; name the one with the truth")
    found: dict[str, list[Path | LabelImage]] = {}
    for path in sorted(folder.glob("*.geojson")):
        found.setdefault(path.stem, []).append(path)
    for image in list_images(folder):
        found.setdefault(image.slide, []).append(image)
    if not found:
        raise DataError(
            f"{folder} holds no truth: expected <slide>.geojson, {LIST}, or <structure>/<slide>_x<left>_y<top>.png"
        )
    return found


def read_truth(folder: Path, found: Sequence[Path | LabelImage], summary: Summary) -> list[TruthRegion]:
    """The regions of a slide with their truth.

    Raises:
        DataError: If a file cannot be read or does not fit the slide.
    """
    parts = (read_drawn(one, summary) if isinstance(one, Path) else [read_image(folder, one, summary)] for one in found)
    return [*chain.from_iterable(parts)]
