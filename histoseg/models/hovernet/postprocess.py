"""Nuclei from what HoVer-Net predicts: a watershed of slopes (Graham et al. 2019, Sec. 3.2; numbers: published code).

Within a nucleus distances rise from -1 to 1, between two that touch they fall. So pixels where they rise in both
directions are markers, and nuclei are flooded from them.

The published code scales slopes by the smallest and the largest one of its tile, so that nuclei depend on what else
the tile shows. Ours are scaled by fixed limits: what is found of a nucleus depends on its own surroundings alone, and a
slide that is divided into regions has the nuclei of the slide as a whole. With these limits the published threshold
stands for a slope of 0.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from histoseg.maps.evidence import Evidence
from histoseg.maps.flooding import ellipse, fill_holes, flood, label_pieces
from histoseg.maps.objects import renumber
from histoseg.types import InstanceMap

MASK_THRESHOLD = 0.5
MARKER_THRESHOLD = 0.4  # Of 1 - steepness
MASK_MIN_PX = MARKER_MIN_PX = 10
OPENING_PX = 5
SOBEL_PX = 21
# In distances per pixel: from 1 to -1 in one step, as between two nuclei, is a slope of -0.35 with that kernel; that
# within a nucleus of ten pixels is 0.2. HIGHEST is two thirds of LOWEST, so that MARKER_THRESHOLD is a slope of 0.
LOWEST, HIGHEST = -0.45, 0.3
REACH_PX = SOBEL_PX // 2  # How far a pixel's slopes look


def steepness(maps: Float32[np.ndarray, "2 H W"]) -> Float32[np.ndarray, "H W"]:
    """The lower one of both slopes of each pixel, scaled: 0.6 where it is 0, 0 where it falls by LOWEST or more.

    `maps` are the horizontal and the vertical distances.
    """
    scale = 2.0 ** -(2 * SOBEL_PX - 3)  # So that a slope of 1 stays 1: sums of OpenCV's two kernels
    slopes = (
        cv2.Sobel(maps[0], cv2.CV_32F, 1, 0, ksize=SOBEL_PX, scale=scale),
        cv2.Sobel(maps[1], cv2.CV_32F, 0, 1, ksize=SOBEL_PX, scale=scale),
    )
    lower = np.minimum(*slopes, out=slopes[0])
    lower -= np.float32(LOWEST)
    lower /= np.float32(HIGHEST - LOWEST)
    return np.asarray(np.maximum(lower, 0, out=lower))


def is_marker(evidence: Evidence) -> Bool[np.ndarray, "H W"]:
    """Nuclear pixels where distances rise, from which nuclei are flooded once holes are filled and specks removed."""
    return np.asarray(evidence.mask & (_edges(evidence) < np.float32(MARKER_THRESHOLD)))


def make_objects(evidence: Evidence) -> InstanceMap:
    """The nuclei, with ids from 1 on, none missing.

    `evidence.mask` are nuclear pixels, `evidence.inner` is their steepness.

    Raises:
        ValueError: If there is no steepness.
    """
    if not evidence.mask.size:  # OpenCV takes no image without pixels.
        return np.zeros(evidence.mask.shape, np.int32)
    pieces = label_pieces(evidence.mask, MASK_MIN_PX)
    edges, is_nuclear = _edges(evidence), pieces > 0
    seeds = fill_holes((is_nuclear & (edges < np.float32(MARKER_THRESHOLD))).view(np.uint8))
    opened = cv2.morphologyEx(seeds, cv2.MORPH_OPEN, ellipse(OPENING_PX))
    markers = label_pieces(opened > 0, MARKER_MIN_PX)
    heights = np.subtract(1, edges, out=edges)  # In place, as new maps are what costs most here
    heights *= is_nuclear
    heights = cv2.GaussianBlur(heights, (3, 3), 0, dst=heights)
    return renumber(flood(heights, markers, pieces, in_rows=True))


def _edges(evidence: Evidence) -> Float32[np.ndarray, "H W"]:
    """How much each pixel looks like one between two nuclei, from 0 on."""
    if evidence.inner is None:
        raise ValueError("nuclei are flooded, so evidence needs the steepness of distances")
    edges = 1 - evidence.inner
    return np.asarray(np.maximum(edges, np.float32(0), out=edges))
