"""What the folder of a small image holds beside that of any slide: what people open without further programs.

All of it is made from the file of objects and in the image's own pixels, at whatever resolution the network saw it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from histoseg.exports import csv, geojson
from histoseg.exports._slide import ObjectRow, SlideObjects
from histoseg.files.regions import paint
from histoseg.inference.overlay import ClassMap, draw_overlay
from histoseg.slides.objects import ObjectFile
from histoseg.slides.outlined import region_of
from histoseg.slides.reader import Slide
from histoseg.slides.summary import OBJECTS, Counts, Summary
from histoseg.store.objects import FileStore
from histoseg.types import InstanceMap

SMALL_PX = 25_000_000  # 5000 x 5000: programs open such a picture at once, and its map of labels takes 100 MB here.
OVERLAY = "overlay.png"
LARGEST_16_BIT = 65535


def is_small(slide: Slide) -> bool:
    """Whether a slide is looked at as one picture."""
    return slide.size_px[0] * slide.size_px[1] <= SMALL_PX


def write_pictures(
    folder: Path,
    slide: Slide,
    about: Summary,
    tissue: ClassMap | None,
    semantic_maps: Mapping[str, ClassMap],
) -> Summary:
    """Write an overlay, maps of labels, and all objects as CSV and GeoJSON beside `objects.parquet`.

    Returns the summary with how many objects are too small for their map. `tissue` and `semantic_maps` are those of
    `draw_overlay`; the latter in base pixels.
    """
    objects = SlideObjects(objects=ObjectFile.open(FileStore(folder), OBJECTS), summary=about)
    csv.write(folder / csv.NAME, objects)
    geojson.write(folder / geojson.NAME, objects)
    rows = [*objects.rows()]
    counts = dict[str, Counts]()
    for name, found in about.counts.items():
        label_map, absent = draw_labels([row for row in rows if row.structure == name], slide.size_px)
        save_map(label_map, folder, name)
        counts[name] = found.model_copy(update={"not_in_map": absent})
    for task, semantic_map in semantic_maps.items():
        save_map(semantic_map, folder, task)
    image = slide.read(0, 0, *slide.size_px, slide.mpp)
    PillowImage.fromarray(draw_overlay(image, about, rows, tissue, semantic_maps)).save(folder / OVERLAY)
    return about.model_copy(update={"counts": counts})


def draw_labels(rows: Sequence[ObjectRow], size_px: tuple[int, int]) -> tuple[InstanceMap, int]:
    """A map of the objects' ids, 0 where there is none, and how many objects have no pixel in it.

    A pixel belongs to an object if its middle lies within the outline.
    """
    drawn = paint([region_of(row.geometry) for row in rows], size_px)
    ids = np.array([0, *(row.id for row in rows)], np.int32)
    return ids[drawn.instance_map], len(drawn.outside) + len(drawn.covered)


def save_map(label_map: InstanceMap | ClassMap, folder: Path, name: str) -> Path:
    """The file of a map: classes are PNG of 8 bits, objects PNG of 16, or TIFF of 32 where ids are larger than that."""
    if label_map.max(initial=0) > LARGEST_16_BIT:
        path = folder / f"{name}.tif"
        PillowImage.fromarray(label_map).save(path, compression="tiff_deflate")
        return path
    path = folder / f"{name}.png"
    PillowImage.fromarray(label_map if label_map.dtype == np.uint8 else label_map.astype(np.uint16)).save(path)
    return path
