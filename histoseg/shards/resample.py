"""Image and maps at one resolution, so that objects have the same size from every scanner."""

from dataclasses import replace

import cv2
import numpy as np

from histoseg.maps.boxes import cut, draw_boxes, stretched
from histoseg.types import MPP_TOLERANCE, Boxes, Sample


def resample(sample: Sample, mpp: float) -> Sample:
    """The sample with its image and maps at `mpp` microns per pixel.

    Pixels of the image are averaged when it shrinks and interpolated when it grows; labels are those of the nearest
    pixel. A sample within 2.5 % of that resolution is returned unchanged, with its own mpp.
    """
    factor = sample.mpp / mpp
    if abs(factor - 1) <= MPP_TOLERANCE:
        return sample
    height, width = (max(1, round(side * factor)) for side in sample.image.shape[:2])
    smooth = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    rows, columns = _nearest(sample.image.shape[0], height), _nearest(sample.image.shape[1], width)
    here = np.ix_(rows, columns)
    boxes = None if sample.boxes is None else _resized(sample.boxes, sample.image.shape[:2], (height, width))
    return replace(
        sample,
        image=np.asarray(cv2.resize(sample.image, (width, height), interpolation=smooth)),
        semantic_map=sample.semantic_map[here] if boxes is None else draw_boxes(boxes, (height, width)),
        mpp=mpp,
        instance_map=None if sample.instance_map is None else sample.instance_map[here],
        boxes=boxes,
    )


def _resized(boxes: Boxes, before: tuple[int, ...], after: tuple[int, int]) -> Boxes:
    """Boxes in an image of another height and width; rounding moves none beyond its border."""
    larger = stretched(boxes, after[1] / before[1], after[0] / before[0])
    return replace(larger, corners=cut(larger.corners, after))


def _nearest(before: int, after: int) -> np.ndarray:
    """The old pixel at the centre of each new one, along a side; cv2.INTER_NEAREST is half a pixel off."""
    return np.minimum(((np.arange(after) + 0.5) * before / after).astype(np.int64), before - 1)
