"""Boxes around objects: their overlap, which of several on one object stays, and parts of images."""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float32, Int64

from histoseg.types import Boxes, SemanticMap

Corners = Float32[np.ndarray, "_ 4"]  # Left, top, right, bottom
NO_BOXES = Boxes(corners=np.empty((0, 4), np.float32), classes=np.empty(0, np.uint8))


def areas(corners: Float32[np.ndarray, "N 4"]) -> Float32[np.ndarray, " N"]:
    """The area of each box in square pixels."""
    return np.asarray((corners[:, 2:] - corners[:, :2]).prod(axis=1))


def box_iou(first: Float32[np.ndarray, "N 4"], second: Float32[np.ndarray, "M 4"]) -> Float32[np.ndarray, "N M"]:
    """Intersection over union of each box of one set with each of another; 0 for two boxes without area."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=2)
    union = areas(first)[:, None] + areas(second)[None] - shared
    return np.asarray(shared / np.maximum(union, np.finfo(np.float32).tiny), np.float32)


def suppress(
    corners: Float32[np.ndarray, "N 4"], scores: Float32[np.ndarray, " N"], max_iou: float
) -> Int64[np.ndarray, " _"]:
    """Indices of the boxes that stay, from the highest score down; equal scores keep their order.

    A box goes if its IoU with one that stays exceeds `max_iou` (greedy non-maximum suppression).
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        first, order = order[0], order[1:]
        kept.append(first)
        order = order[~(box_iou(corners[first][None], corners[order])[0] > max_iou)]
    return np.array(kept, np.int64)


def centred_within(corners: Float32[np.ndarray, "N 4"], part: tuple[int, int, int, int]) -> Bool[np.ndarray, " N"]:
    """Which boxes have their centre in a part of the image, (top, left, height, width): parts share no box."""
    top, left, height, width = part
    x, y = (corners[:, 0] + corners[:, 2]) / 2, (corners[:, 1] + corners[:, 3]) / 2
    return np.asarray((x >= left) & (x < left + width) & (y >= top) & (y < top + height))


def touching(boxes: Boxes, part: tuple[int, int, int, int]) -> Boxes:
    """The boxes that share some area with a part of the image, (top, left, height, width), uncut."""
    top, left, height, width = part
    corners = boxes.corners
    across = (corners[:, 2] > left) & (corners[:, 0] < left + width)
    return chosen(boxes, across & (corners[:, 3] > top) & (corners[:, 1] < top + height))


def chosen(boxes: Boxes, which: Bool[np.ndarray, " N"]) -> Boxes:
    """Some of the boxes."""
    return Boxes(corners=boxes.corners[which], classes=boxes.classes[which])


def moved(boxes: Boxes, across: float | int, down: float | int) -> Boxes:
    """The boxes shifted by as many pixels to the right and down."""
    return replace(boxes, corners=boxes.corners + np.array([across, down, across, down], np.float32))


def stretched(boxes: Boxes, across: float | int, down: float | int) -> Boxes:
    """The boxes in an image whose width and height are multiplied by these factors."""
    return replace(boxes, corners=boxes.corners * np.array([across, down, across, down], np.float32))


def cut(corners: Float32[np.ndarray, "N 4"], size: tuple[int, int]) -> Float32[np.ndarray, "N 4"]:
    """The parts of boxes within an image of that height and width; what lies outside loses its area."""
    height, width = size
    return np.asarray(corners.clip(min=0, max=np.array([width, height, width, height], np.float32)))


def draw_boxes(boxes: Boxes, size: tuple[int, int]) -> SemanticMap:
    """The class of the box that the middle of each pixel lies in, smaller boxes over larger ones; 0 in none."""
    semantic_map = np.zeros(size, np.uint8)
    edges = np.ceil(cut(boxes.corners, size) - 0.5).astype(np.int64)
    for i in np.argsort(-areas(boxes.corners), kind="stable").tolist():
        left, top, right, bottom = edges[i].tolist()
        semantic_map[top:bottom, left:right] = boxes.classes[i]
    return semantic_map
