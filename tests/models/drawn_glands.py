"""Glands with lumina, drawn so that some touch, and how well a map of objects finds them."""

import cv2
import numpy as np

from histoseg.metrics.panoptic import count_panoptic

CENTRES = ((70, 70), (70, 150), (170, 60), (175, 160), (120, 235))


def draw_glands(side=272):
    """Instance maps of five glands, the first two of which touch, and of a lumen in each."""
    glands, lumina = np.zeros((side, side), np.int32), np.zeros((side, side), np.int32)
    for label, (row, column) in enumerate(CENTRES, start=1):
        cv2.ellipse(glands, (column, row), (42, 32), 10.0 * label, 0, 360, label, -1)
        cv2.ellipse(lumina, (column, row), (14, 10), 10.0 * label, 0, 360, label, -1)
    return {"gland": glands, "lumen": lumina}


def quality(true, found):
    """Panoptic quality."""
    return count_panoptic(true, found).pq
