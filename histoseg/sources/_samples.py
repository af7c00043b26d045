"""Samples from what was read: sizes and class ids are checked."""

from dataclasses import replace

import numpy as np
from jaxtyping import Int32, UInt8

from histoseg.errors import DataError
from histoseg.files.images import read_image
from histoseg.files.labels import read_instance_map
from histoseg.files.mat import read_objects
from histoseg.files.notes import note
from histoseg.maps.boxes import draw_boxes
from histoseg.types import IGNORE, Boxes, Entry, Image, Sample, Task, say_labels


def make_sample(
    entry: Entry,
    task: Task,
    image: Image,
    semantic_map: UInt8[np.ndarray, "_ _"],
    instance_map: Int32[np.ndarray, "_ _"] | None = None,
    mpp: float = 0.0,
) -> Sample:
    """The sample, after checking sizes and class ids; it has the task's resolution unless another is given."""
    annotation = entry.files.get("annotation", entry.files["image"])
    for labels in (semantic_map, instance_map):
        if labels is not None and image.shape[:2] != labels.shape:
            raise DataError(
                f"{annotation}: {_size(labels)} px, but its image {entry.files['image'].name} has {_size(image)} px;"
                " fetch both again"
            )
    wrong = (semantic_map >= task.num_classes) & (semantic_map != IGNORE)
    if wrong.any():
        raise DataError(f"{annotation}: class id {semantic_map[wrong].max()}; {say_labels(task.num_classes)}")
    return Sample(
        key=entry.key,
        patient=entry.patient,
        image=image,
        semantic_map=semantic_map,
        mpp=mpp or task.mpp,
        instance_map=instance_map,
    )


def make_box_sample(entry: Entry, task: Task, image: Image, boxes: Boxes) -> Sample:
    """A sample whose objects have boxes, at the task's resolution."""
    semantic_map = draw_boxes(boxes, (image.shape[0], image.shape[1]))
    return replace(make_sample(entry, task, image, semantic_map), boxes=boxes)


def read_numbered(entry: Entry, task: Task) -> Sample:
    """An image whose annotation numbers its objects; all have class 1."""
    image = read_image(entry.files["image"])
    instance_map = read_instance_map(entry.files["annotation"], instances=entry.options.get("instances", "numbered"))
    return make_sample(entry, task, image, (instance_map != 0).astype(np.uint8), instance_map)


def read_mat_sample(
    entry: Entry, task: Task, mpp: float, *, has_classes: bool = True, default_class: int = 1
) -> Sample:
    """An image with the objects of its label file, as `read_objects` reads it."""
    image = read_image(entry.files["image"])
    instance_map, semantic_map = read_objects(
        entry.files["annotation"],
        task.num_classes,
        has_classes=has_classes,
        default_class=default_class,
        instances=entry.options.get("instances", "numbered"),
    )
    untyped = np.unique(instance_map[semantic_map == IGNORE])
    note("objects without a class: found, but no class is learnt from them", len(untyped))
    return make_sample(entry, task, image, semantic_map, instance_map, mpp)


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
