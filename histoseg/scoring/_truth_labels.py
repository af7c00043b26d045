"""Truth as label images, each with its place on the slide."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from histoseg.errors import DataError
from histoseg.files.annotations import read_json
from histoseg.files.labels import read_instance_map, read_labels
from histoseg.files.mat import read_objects
from histoseg.scoring._truth_region import TruthRegion
from histoseg.slides.summary import Summary
from histoseg.structures import TISSUE
from histoseg.types import IGNORE, InstanceMap, SemanticMap, is_credible_mpp, say_credible_mpp

LIST = "regions.json"
BY_NAME = re.compile(r"(?P<slide>.+)_x(?P<x>\d+)_y(?P<y>\d+)(_mpp(?P<mpp>\d+(\.\d+)?))?")
LABEL_FILES = (".png", ".tif", ".tiff", ".bmp", ".npy", ".mat")


class LabelImage(BaseModel):
    """An entry of `regions.json`, which is {"regions": [{…}, …]}.

    Attributes:
        labels: The file below the folder of truth, whose values number objects.
        x, y: The upper left corner of the image, in pixels of the slide.
        mpp: Microns per pixel of the image; without it, it has those of the slide.
        types: A second image with the number of each pixel's class; a .mat file has classes itself.
        classes: The name of each number in `types`, or of the classes of the .mat file, as {"1": "neutrophil"}.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    slide: str
    structure: str
    labels: str
    x: Annotated[float, Field(ge=0)]
    y: Annotated[float, Field(ge=0)]
    mpp: float | None = None
    types: str = ""
    classes: dict[Annotated[int, Field(ge=1, lt=IGNORE)], str] = {}


class _LabelImages(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    regions: list[LabelImage]


def list_images(folder: Path) -> Iterator[LabelImage]:
    """The label images of the list, if there is one, then those whose names say where they lie."""
    if (folder / LIST).is_file():
        yield from read_json(folder / LIST, _LabelImages).regions
    yield from _by_name(folder)


def _by_name(folder: Path) -> Iterator[LabelImage]:
    """The label images whose names say where they lie."""
    for path in sorted(folder.glob("*/*")):
        named = BY_NAME.fullmatch(path.stem)
        if path.suffix.lower() in LABEL_FILES and named:
            yield LabelImage(
                slide=named["slide"],
                structure=path.parent.name,
                labels=path.relative_to(folder).as_posix(),
                x=int(named["x"]),
                y=int(named["y"]),
                mpp=None if named["mpp"] is None else float(named["mpp"]),
            )


def read_image(folder: Path, image: LabelImage, summary: Summary) -> TruthRegion:
    """The truth of a label image."""
    path = folder / image.labels
    if image.structure not in summary.structures:
        choices = ", ".join(name for name in summary.structures if name != TISSUE)
        raise DataError(f"{path}: of {image.structure!r}, which the model does not find; it finds {choices}")
    mpp = summary.mpp if image.mpp is None else image.mpp
    if not is_credible_mpp(mpp):
        raise DataError(f"{path}: {mpp:g} microns per pixel; they must be {say_credible_mpp()}")
    instance_map, type_map, classes = _read_labels(folder, image)
    scale = summary.mpp / mpp
    height, width = instance_map.shape
    box = (image.x, image.y, image.x + width / scale, image.y + height / scale)
    if box[2] > summary.size_px[0] + 1 / scale or box[3] > summary.size_px[1] + 1 / scale:
        raise DataError(
            f"{path}: {width}x{height} px of {mpp:g} µm at x = {image.x:g}, y = {image.y:g} reach beyond the slide of"
            f" {summary.size_px[0]}x{summary.size_px[1]} px; correct x, y or mpp"
        )
    return TruthRegion(
        slide=summary.name,
        name=image.labels,
        structure=image.structure,
        box=box,
        scale=scale,
        instance_map=instance_map,
        known=np.ones(instance_map.shape, bool),
        type_map=type_map,
        classes=classes,
    )


def _read_labels(folder: Path, image: LabelImage) -> tuple[InstanceMap, SemanticMap | None, tuple[str, ...]]:
    """The objects of a label image, the class of each pixel's object if there are any, and the classes' names."""
    path, highest = folder / image.labels, max(image.classes, default=0)
    classes = ("background", *(image.classes.get(i, f"class {i}") for i in range(1, highest + 1)))
    if path.suffix.lower() == ".mat" and image.classes:
        return *read_objects(path, len(classes)), classes
    instance_map = read_instance_map(path)
    if not image.types:
        return instance_map, None, ("background",)
    type_map = read_labels(folder / image.types)
    if type_map.shape != instance_map.shape:
        raise DataError(f"{folder / image.types}: {type_map.shape}, but {path} is {instance_map.shape}; correct one")
    known = {0, IGNORE, *image.classes}
    if unknown := sorted({*np.unique(type_map[instance_map > 0]).tolist()} - known):
        raise DataError(f"{folder / image.types}: class {unknown[0]} has no name in {LIST}; add it to classes")
    return instance_map, np.where((instance_map > 0) & (type_map == 0), np.uint8(IGNORE), type_map), classes
