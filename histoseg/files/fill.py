"""Which pixels lie within an outline."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float64, Int64

Ring = Float64[np.ndarray, "_ 2"]  # x, y; the last vertex is joined to the first
Mask = Bool[np.ndarray, "_ _"]


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """The pixels within each of several outlines, outline after outline."""

    places: Int64[np.ndarray, " P"]  # In the image row after row
    owners: Int64[np.ndarray, " P"]  # The outline's place in the sequence


def fill_edges(ring: Ring, start: tuple[int, int], shape: tuple[int, int]) -> Mask:
    """The pixels on and within an outline whose vertices are pixels (OpenCV's fillPoly).

    Args:
        ring: The outline.
        start: Column and row of the image where the mask begins.
        shape: Rows and columns of the mask.
    """
    canvas = np.zeros(shape, np.uint8)
    cv2.fillPoly(canvas, [np.round(ring).astype(np.int32) - np.array(start, np.int32)], 1)
    return np.asarray(canvas == 1)


def fill_middles(ring: Ring, start: tuple[int, int], shape: tuple[int, int]) -> Mask:
    """The pixels whose middle lies within an outline, by the even-odd rule; arguments as those of `fill_edges`."""
    mask = np.zeros(shape, bool)
    mask.ravel()[find_middles([ring - np.array(start)], shape).places] = True
    return mask


def find_middles(rings: Sequence[Ring], size: tuple[int, int]) -> Pixels:
    """The pixels of an image of some height and width whose middle lies within an outline, by the even-odd rule.

    A row of middles crosses a closed outline an even number of times: from each odd crossing to the next it is inside.
    """
    counts = np.array([len(ring) for ring in rings])
    first = np.concatenate(rings) - 0.5
    following = np.arange(1, len(first) + 1)
    following[np.cumsum(counts) - 1] -= counts
    second = first[following]
    upper, lower = np.where(first[:, 1:] <= second[:, 1:], (first, second), (second, first))
    begin, end = (np.clip(np.ceil(each[:, 1]), 0, size[0]).astype(int) for each in (upper, lower))
    edges, steps = _ranges(end - begin)
    rows = begin[edges] + steps
    slopes = (lower - upper)[edges]
    crossings = upper[edges, 0] + (rows - upper[edges, 1]) * slopes[:, 0] / slopes[:, 1]
    columns = np.clip(np.ceil(crossings), 0, size[1]).astype(int)
    owners = np.repeat(np.arange(len(rings)), counts)[edges]
    order = np.lexsort((columns, rows, owners))
    left, right = order[::2], order[1::2]
    spans, steps = _ranges(columns[right] - columns[left])
    chosen = left[spans]
    return Pixels(places=rows[chosen] * size[1] + columns[chosen] + steps, owners=owners[chosen])


def _ranges(counts: Int64[np.ndarray, " N"]) -> tuple[Int64[np.ndarray, " M"], Int64[np.ndarray, " M"]]:
    """For each of N things the numbers 0 to its count - 1: which thing, and which number."""
    things = np.repeat(np.arange(len(counts)), counts)
    return things, np.arange(len(things)) - np.repeat(np.cumsum(counts) - counts, counts)
