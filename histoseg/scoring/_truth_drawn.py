"""Truth that was drawn on a slide in QuPath: frames around what was annotated, and outlines of objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from histoseg.errors import DataError
from histoseg.files.folders import plain
from histoseg.files.geojson import read_geojson
from histoseg.files.regions import Region, classify, paint, to_semantic_map, vertices
from histoseg.scoring._truth_region import TruthRegion, moved
from histoseg.slides.summary import Summary
from histoseg.structures import TISSUE
from histoseg.types import IGNORE

FRAME, NOT_SCORED = "region", "ignore"  # QuPath's own names of these classes end in *.
LARGEST_PX = 10_000**2  # Maps of a larger region take gigabytes.

Corner = Float64[np.ndarray, " 2"]


@dataclass(frozen=True, kw_only=True)
class _Meaning:
    """What the name of a drawn object says."""

    structure: str
    class_name: str = ""


def read_drawn(path: Path, summary: Summary) -> list[TruthRegion]:
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


def _require_size(size: tuple[int, int], where: str) -> None:
    if min(size) < 1 or size[0] * size[1] > LARGEST_PX:
        raise DataError(
            f"{where} has {size[1]}x{size[0]} px of the slide; expected 1 to {LARGEST_PX:,} in all; draw it smaller"
        )
