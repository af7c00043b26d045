"""Outlines that people drew as the labels of a declared source: which program's file it is, and whose classes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

from histoseg.errors import DataError
from histoseg.files.coco import read_coco
from histoseg.files.geojson import read_geojson
from histoseg.files.imagej import read_imagej
from histoseg.files.imagescope import choose_layer, read_imagescope
from histoseg.files.labelme import read_labelme
from histoseg.files.regions import Region, classify, draw_polygons, to_semantic_map
from histoseg.types import InstanceMap, SemanticMap

# Files of one image by their ending; a .json that is one for all images is COCO's.
READERS: Mapping[str, Callable[[Path], list[Region]]] = {
    ".geojson": read_geojson,
    ".xml": read_imagescope,
    ".roi": read_imagej,
    ".zip": read_imagej,
    ".json": read_labelme,
}


def read_outlines(path: Path, image: Path, *, is_shared: bool) -> list[Region]:
    """The regions of an image; `is_shared` says whether the file is that of all images.

    Raises:
        DataError: If the file is damaged, or one of all images does not name this one.
    """
    if not is_shared:
        return READERS[path.suffix.lower()](path)
    regions = read_shared(path)
    if image.name not in regions:
        raise DataError(f"{path}: has no image {image.name!r} among {len(regions)}; add it, or remove the image")
    return regions[image.name]


def read_shared(path: Path) -> Mapping[str, list[Region]]:
    """The regions of each image that a file of all images lists, by the last part of its name."""
    return _of_all_images(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _of_all_images(path: Path, _changed: int) -> Mapping[str, list[Region]]:
    return {PurePosixPath(name.replace("\\", "/")).name: regions for name, regions in read_coco(path).items()}


def outline_maps(
    regions: Sequence[Region], classes: Sequence[str], size: tuple[int, int], path: Path, layer: str = ""
) -> tuple[SemanticMap, InstanceMap]:
    """The class and the object of each pixel.

    With one class beside the background, every region has it; of several layers, the one with the objects is taken.
    With more, a region's class is what it, or else its layer, is called.

    Args:
        regions: Those of the image.
        classes: Class names, background first.
        size: Height and width of the image.
        path: The file, for messages.
        layer: The layer of ImageScope to take; empty to find out.
    """
    if len(classes) == 2:
        kept = choose_layer(regions, size, path, layer) if path.suffix.lower() == ".xml" else regions
        numbers = [1] * len(kept)
    else:
        named = [replace(region, class_name=region.class_name or region.layer) for region in regions]
        known = {name: number for number, name in enumerate(classes) if number}
        kept, numbers = classify(named, known, path, ignored=classes[:1])
    instance_map = draw_polygons(kept, size, path).instance_map
    return to_semantic_map(instance_map, numbers), instance_map
