"""Where patches of a slide are taken: about objects that are known or found, or side by side."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from histoseg.errors import ConfigError, DataError
from histoseg.files.labels import read_instance_map
from histoseg.inference.segment import identify, segment_slide
from histoseg.maps.objects import find_objects
from histoseg.models.weights import Model
from histoseg.representation.patches import grid_centres
from histoseg.slides.objects import ObjectFile
from histoseg.slides.options import SegmentOptions
from histoseg.slides.reader import Slide
from histoseg.slides.summary import OBJECTS
from histoseg.store.objects import FileStore, Store, connect

BY_MODEL = "model"  # The word for objects that the model itself finds
LABEL_ENDINGS = (".png", ".tif", ".tiff", ".npy", ".mat")


@dataclass(frozen=True, kw_only=True)
class Places:
    """Places of a slide, in base pixels.

    Attributes:
        ids: Of objects, as their file or map has them; of patches side by side, from 1 on.
        structures: What each object is; empty where that is not known.
        points: x, y of the middle.
    """

    ids: Int64[np.ndarray, " N"]
    structures: Shaped[np.ndarray, " N"]
    points: Float64[np.ndarray, "N 2"]


def find_places(slide: Slide, model: Model, objects: str, structure: str, patch_px: int) -> Places:
    """The places to take patches at.

    Args:
        slide: The slide.
        model: The model whose features are wanted.
        objects: Empty for patches side by side; BY_MODEL; a folder or s3:// address of what `histoseg segment` wrote; a
            label image of the slide's size in which each object has a number, or a folder of such, named like slides.
        structure: Only objects of this; empty means all.
        patch_px: Side of a patch at the model's resolution.

    Raises:
        ConfigError: If there is nothing at that place, or the model finds no objects.
        DataError: If objects are of another slide, or their file is damaged.
    """
    if not objects:
        return _side_by_side(slide, model, patch_px)
    if objects == BY_MODEL:
        with tempfile.TemporaryDirectory(prefix="histoseg-features-") as folder:
            store, chosen = FileStore(Path(folder)), tuple(filter(None, (structure,)))
            summary, _ = segment_slide(slide.address, model, store, SegmentOptions(mpp=slide.mpp, structures=chosen))
            return _stored(store, f"{summary.name}/{OBJECTS}", slide, structure)
    results = connect(objects) if "://" in objects else FileStore(Path(objects))
    if results.size(f"{slide.name}/{OBJECTS}") is not None:
        return _stored(results, f"{slide.name}/{OBJECTS}", slide, structure)
    return _labelled(_label_file(objects, slide), slide, structure)


def identify_objects(slide: Slide, objects: str) -> str:
    """What the file of a slide's objects holds, as a digest; empty where they are no file's.

    Raises:
        ConfigError: If there is no such file.
    """
    if objects in ("", BY_MODEL):
        return ""
    stored = f"{objects.rstrip('/')}/{slide.name}/{OBJECTS}"
    has_results = "://" in objects or Path(stored).is_file()
    return identify(stored if has_results else str(_label_file(objects, slide)))


def _side_by_side(slide: Slide, model: Model, patch_px: int) -> Places:
    points = (grid_centres(*slide.size_at(model.mpp), patch_px) + 0.5) * slide.scale_at(model.mpp)
    return _places(np.arange(1, len(points) + 1), "", points)


def _places(ids: np.ndarray, structure: str, points: Float64[np.ndarray, "N 2"]) -> Places:
    return Places(ids=ids.astype(np.int64), structures=np.full(len(ids), structure, object), points=points)


def _stored(store: Store, key: str, slide: Slide, structure: str) -> Places:
    """The objects of a file that `histoseg segment` wrote of this slide."""
    file = ObjectFile.open(store, key)
    height, width = slide.size_px
    if file.about.size_px != (width, height) or abs(file.about.mpp / slide.mpp - 1) > 1e-3:
        raise DataError(
            f"{file.where}: objects of a slide of {file.about.size_px} px and {file.about.mpp:g} µm/px, but "
            f"{slide.address} has {(width, height)} and {slide.mpp:g}; name the results of this slide"
        )
    table = file.read(structures=[structure] if structure else None, columns=["id", "structure", "x", "y"])
    points = np.stack([table[name].to_numpy().astype(np.float64) for name in ("x", "y")], axis=1)
    names = np.array(table["structure"].to_pylist(), object)
    return Places(ids=table["id"].to_numpy().astype(np.int64), structures=names, points=points)


def _label_file(objects: str, slide: Slide) -> Path:
    """The label image of a slide."""
    path = Path(objects)
    if path.is_file():
        return path
    choices = [path / f"{slide.name}{ending}" for ending in LABEL_ENDINGS]
    found = [choice for choice in choices if choice.is_file()]
    if not found:
        raise ConfigError(
            f"--objects {objects}: neither {slide.name}/{OBJECTS} nor a label image {slide.name}.png is there; segment "
            f"{slide.address} first, or name {BY_MODEL} to have its objects found"
        )
    return found[0]


def _labelled(path: Path, slide: Slide, structure: str) -> Places:
    instance_map = read_instance_map(path)
    if instance_map.shape != slide.size_px:
        raise DataError(f"{path}: labels of {instance_map.shape} px, but {slide.address} has {slide.size_px}")
    found = find_objects(instance_map)
    return _places(found.ids, structure, found.centroids + 0.5)
