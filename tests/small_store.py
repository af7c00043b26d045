"""A few tiny images whose every pixel a test knows, to be put into a store in milliseconds."""

import numpy as np

from histoseg.runs.config import Data
from histoseg.types import Sample, Task


def make_task(name, classes=("background", "gland"), kind="semantic", structure=""):
    return Task(name=name, title=name, classes=classes, mpp=0.5, licence="ours", kind=kind, structure=structure)


def make_sample(key, semantic_map, instance_map=None, image=None):
    """A sample of the patient `p<key>`; without an image, one whose red is the class of each pixel."""
    semantic = np.asarray(semantic_map, np.uint8)
    if image is None:
        image = np.zeros((*semantic.shape, 3), np.uint8)
        image[..., 0] = semantic
    instances = None if instance_map is None else np.asarray(instance_map, np.int32)
    return Sample(key=key, patient=f"p{key}", image=image, semantic_map=semantic, mpp=0.5, instance_map=instances)


def squares(rng, side_px=48, num_classes=2, share_px=12):
    """A noisy image with dark squares, whose classes and numbers are the maps: (image, semantic map, instance map)."""
    image = rng.integers(160, 256, (side_px, side_px, 3), dtype=np.uint8)
    classes, instances = np.zeros((side_px, side_px), np.uint8), np.zeros((side_px, side_px), np.int32)
    corners = [
        (y, x) for y in range(2, side_px - share_px, share_px + 4) for x in range(2, side_px - share_px, share_px + 4)
    ]
    for number, (y, x) in enumerate(corners, start=1):
        place = np.s_[y : y + share_px, x : x + share_px]
        image[place] //= 3
        classes[place] = 1 + (number % (num_classes - 1))
        instances[place] = number
    return image, classes, instances


def squares_samples(rng, names, kind="instance", num_classes=2, side_px=48):
    """A sample for each name; of kind "patch", one class each, in turn."""
    samples = []
    for i, name in enumerate(names):
        image, classes, instances = squares(rng, side_px, num_classes)
        if kind == "patch":
            classes[:] = i % num_classes
        samples.append(make_sample(name, classes, instances if kind == "instance" else None, image))
    return samples


SEMANTIC_DATA = Data(patch_px=32, scale=(1.0, 1.0), rotate_deg=0.0)
