"""Outlines that people drew as the labels of a declared source: which program's file it is, and whose classes."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

from histoseg.errors import DataError
from histoseg.files.coco import read_coco
from histoseg.files.folders import nfc
from histoseg.files.geojson import read_geojson
from histoseg.files.imagej import read_imagej
from histoseg.files.imagescope import read_imagescope
from histoseg.files.labelme import read_labelme
from histoseg.files.layers import choose_layer, require_no_frame
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
    images = _of_all_images(path, path.stat().st_mtime_ns)
    named = images.get(_parts(image.name)[-1], {})
    found = [parts for parts in named if len(named) == 1 or parts == _parts(image.as_posix())[-len(parts) :]]
    if not found:
        elsewhere = f", {len(named)} of this name in other folders" if named else ""
        among = f"{sum(map(len, images.values()))}{elsewhere}"
        raise DataError(f"{path}: has no image {image.name!r} among {among}; add it, or remove the image")
    return named[max(found, key=len)]


def read_shared(path: Path) -> Mapping[str, list[Region]]:
    """The regions that a file of all images lists, by the last part of an image's name in lower case."""
    images = _of_all_images(path, path.stat().st_mtime_ns)
    return {name: [region for regions in named.values() for region in regions] for name, named in images.items()}


@lru_cache(maxsize=1)
def _of_all_images(path: Path, _changed: int) -> Mapping[str, Mapping[tuple[str, ...], list[Region]]]:
    """The regions of each image, by the last part of its name and by all parts."""
    named: dict[str, dict[tuple[str, ...], list[Region]]] = defaultdict(dict)
    for name, regions in read_coco(path).items():
        parts = _parts(name)
        if named[parts[-1]].setdefault(parts, regions) is not regions:
            raise DataError(f"{path}: two images have the name {name!r} but for case; rename one")
    return named


def _parts(name: str) -> tuple[str, ...]:
    """The parts of a path, in lower case; an accented letter is one character, as in `histoseg.files.folders.nfc`."""
    return PurePosixPath(nfc(name).casefold().replace("\\", "/")).parts or ("",)


def outline_maps(
    regions: Sequence[Region], classes: Sequence[str], size: tuple[int, int], path: Path, layer: str = ""
) -> tuple[SemanticMap, InstanceMap]:
    """The class and the object of each pixel.

    With one class beside the background, every region has it; of several layers of ImageScope, the one with the objects
    is taken.
    With more, a region's class is what it, or else its layer, is called.

    Args:
        regions: Those of the image.
        classes: Class names, background first.
        size: Height and width of the image.
        path: The file, for messages.
        layer: The layer to take, as QuPath's "detection"; empty to find out.
    """
    if len(classes) == 2:
        has_layers = layer or path.suffix.lower() == ".xml"  # In QuPath, some objects may be corrected by hand.
        kept = choose_layer(regions, size, path, layer) if has_layers else regions
        require_no_frame(kept, size, path)
        numbers = [1] * len(kept)
    else:
        named = [replace(region, class_name=region.class_name or region.layer) for region in regions]
        known = {name: number for number, name in enumerate(classes) if number}
        kept, numbers = classify(named, known, path, ignored=classes[:1])
    instance_map = draw_polygons(kept, size, path).instance_map
    return to_semantic_map(instance_map, numbers), instance_map
