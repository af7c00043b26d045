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

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Bool, Float64
from pydantic import BaseModel, ConfigDict, Field

from histoseg.errors import DataError
from histoseg.files.annotations import read_json
from histoseg.files.folders import plain
from histoseg.files.geojson import read_geojson
from histoseg.files.labels import read_instance_map, read_labels
from histoseg.files.mat import read_objects
from histoseg.files.regions import Polygon, Region, classify, paint, to_semantic_map, vertices
from histoseg.slides.summary import Summary
from histoseg.structures import TISSUE
from histoseg.types import IGNORE, InstanceMap, SemanticMap, is_credible_mpp, say_credible_mpp

FRAME, NOT_SCORED = "region", "ignore"  # QuPath's own names of these classes end in *.
LIST = "regions.json"
BY_NAME = re.compile(r"(?P<slide>.+)_x(?P<x>\d+)_y(?P<y>\d+)(_mpp(?P<mpp>\d+(\.\d+)?))?")
LABEL_FILES = (".png", ".tif", ".tiff", ".bmp", ".npy", ".mat")
LARGEST_PX = 10_000**2  # Maps of a larger region take gigabytes.

Origin = tuple[int | float, int | float]
Corner = Float64[np.ndarray, " 2"]
Box = tuple[int | float, int | float, int | float, int | float]  # Left, top, right, bottom in base pixels


@dataclass(frozen=True, kw_only=True)
class TruthRegion:
    """One structure's truth in a region of a slide.

    Attributes:
        box: The region in base pixels.
        scale: Pixels of the maps per base pixel.
        known: Where the truth is known: elsewhere nothing is scored.
        type_map: The class of each pixel's object, IGNORE where it has none; None if no object has a class.
        classes: The names of classes, background first.
    """

    slide: str
    name: str
    structure: str
    box: Box
    scale: float
    instance_map: InstanceMap
    known: Bool[np.ndarray, "H W"]
    type_map: SemanticMap | None
    classes: tuple[str, ...]


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


@dataclass(frozen=True, kw_only=True)
class _Meaning:
    """What the name of a drawn object says."""

    structure: str
    class_name: str = ""


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
    listed = read_json(folder / LIST, _LabelImages).regions if (folder / LIST).is_file() else []
    for image in chain(listed, _by_name(folder)):
        found.setdefault(image.slide, []).append(image)
    if not found:
        raise DataError(
            f"{folder} holds no truth: expected <slide>.geojson, {LIST}, or <structure>/<slide>_x<left>_y<top>.png"
        )
    return found


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


def read_truth(folder: Path, found: Sequence[Path | LabelImage], summary: Summary) -> list[TruthRegion]:
    """The regions of a slide with their truth.

    Raises:
        DataError: If a file cannot be read or does not fit the slide.
    """
    parts = (
        _read_drawn(one, summary) if isinstance(one, Path) else [_read_image(folder, one, summary)] for one in found
    )
    return [*chain.from_iterable(parts)]


def _read_drawn(path: Path, summary: Summary) -> list[TruthRegion]:
    """The regions of a file of outlines, each for every structure that the file annotates."""
    regions = read_geojson(path)
    frames = [region for region in regions if plain(region.class_name) == FRAME]
    if not frames:
        raise DataError(
            f"{path}: does not say what was annotated; draw a rectangle around it and give it the class Region"
        )
    hidden = [region for region in regions if plain(region.class_name) == NOT_SCORED]
    meanings = _meanings(summary)
    others = [region for region in regions if plain(region.class_name) not in (FRAME, NOT_SCORED)]
    objects, numbers = classify(others, {name: i for i, name in enumerate(meanings)}, path)
    meant = [[*meanings.values()][number] for number in numbers]
    return [
        _draw(f"region {i}", frame, structure, hidden, objects, meant, summary)
        for i, frame in enumerate(frames, start=1)
        for structure in dict.fromkeys(meaning.structure for meaning in meant)
    ]


def _meanings(summary: Summary) -> dict[str, _Meaning]:
    """What names of drawn objects mean; a class of two structures is named as "gland: malignant"."""
    rows = {name: info for name, info in summary.structures.items() if name != TISSUE}
    found = {
        word: _Meaning(structure=name) for name, info in rows.items() for word in (name, info.singular, info.plural)
    }
    for name, info in rows.items():
        for class_name in info.classes:
            found[f"{name}: {class_name}"] = _Meaning(structure=name, class_name=class_name)
            if sum(class_name in other.classes for other in rows.values()) == 1:
                found.setdefault(class_name, _Meaning(structure=name, class_name=class_name))
    return found


def _draw(  # noqa: PLR0913, PLR0917  # a region's truth is made of all of these
    name: str,
    frame: Region,
    structure: str,
    hidden: Sequence[Region],
    objects: Sequence[Region],
    meant: Sequence[_Meaning],
    summary: Summary,
) -> TruthRegion:
    """The truth of one structure in a frame, at the resolution of the slide."""
    low, high = vertices(frame).min(axis=0), vertices(frame).max(axis=0)
    left, top = np.floor(np.clip(low, 0, summary.size_px)).astype(int).tolist()
    right, bottom = np.ceil(np.clip(high, 0, summary.size_px)).astype(int).tolist()
    size = (bottom - top, right - left)
    where = f"{summary.name}: {name}"
    _require_size(size, where)
    chosen = [i for i, meaning in enumerate(meant) if meaning.structure == structure and _meets(objects[i], low, high)]
    drawn = paint([moved(objects[i], (left, top), 1.0) for i in chosen], size).instance_map
    known = paint([moved(frame, (left, top), 1.0)], size).instance_map > 0
    known &= paint([moved(region, (left, top), 1.0) for region in hidden], size).instance_map == 0
    names = [meant[i].class_name for i in chosen]
    classes = ("background", *summary.structures[structure].classes)
    numbers = [classes.index(each) if each else IGNORE for each in names]
    return TruthRegion(
        slide=summary.name,
        name=name,
        structure=structure,
        box=(left, top, right, bottom),
        scale=1.0,
        instance_map=drawn,
        known=known,
        type_map=to_semantic_map(drawn, numbers) if any(names) else None,
        classes=classes,
    )


def _meets(region: Region, low: Corner, high: Corner) -> bool:
    """Whether the box around a region meets another."""
    points = vertices(region)
    return bool((points.max(axis=0) >= low).all() and (points.min(axis=0) <= high).all())


def moved(region: Region, origin: Origin, scale: float) -> Region:
    """The region in pixels of a map whose upper left corner is at `origin`."""
    start = np.array(origin)
    polygons = [
        Polygon(
            outline=(polygon.outline - start) * scale, holes=tuple((hole - start) * scale for hole in polygon.holes)
        )
        for polygon in region.polygons
    ]
    return replace(region, polygons=tuple(polygons))


def _read_image(folder: Path, image: LabelImage, summary: Summary) -> TruthRegion:
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


def _require_size(size: tuple[int, int], where: str) -> None:
    if min(size) < 1 or size[0] * size[1] > LARGEST_PX:
        raise DataError(
            f"{where} has {size[1]}x{size[0]} px of the slide; expected 1 to {LARGEST_PX:,} in all; draw it smaller"
        )
