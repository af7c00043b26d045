"""Outlines that can be seen on any tissue: a line in its colour between two edges that are dark or light against it."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Int32, UInt8

from histoseg.maps.colours import to_rgb

LIGHT, DARK = (255, 255, 255), (22, 25, 29)
# Rec. 709: how much each primary adds to what the eye sees as bright. Between 0.48 and 0.55 lies no class colour.
LUMINANCE, HALF = (0.2126, 0.7152, 0.0722), 0.5 * 255


def edge_of(colour: str) -> tuple[int, int, int]:
    """The colour beside a line: a light line is seen on dark nuclei and its dark edge on glass, and the reverse."""
    brightness = sum(part * share for part, share in zip(to_rgb(colour), LUMINANCE, strict=True))
    return DARK if brightness > HALF else LIGHT


def draw_outline(
    picture: UInt8[np.ndarray, "_ _ 3"],
    rings: Sequence[Int32[np.ndarray, "_ 1 2"]],
    colour: str,
    width_px: int,
    shift: int = 0,
) -> None:
    """Draw the closed lines of an object into a picture, with an edge of a pixel on both sides of each.

    Args:
        picture: RGB, changed in place.
        rings: The corners of each line as x, y, in fractions of a pixel with `shift` bits after the point.
        colour: As "#RRGGBB".
        width_px: Of the line without its edges.
        shift: Bits after the point.
    """
    cv2.polylines(picture, rings, True, edge_of(colour), width_px + 2, cv2.LINE_AA, shift)
    cv2.polylines(picture, rings, True, to_rgb(colour), width_px, cv2.LINE_AA, shift)


def outlines_of(mask: Bool[np.ndarray, "H W"], zoom: int = 1) -> Iterator[Int32[np.ndarray, "V 1 2"]]:
    """The outer and inner borders of a mask, as corners in a picture that is `zoom` times as large."""
    large = cv2.resize(mask.view(np.uint8), None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST)
    found, _ = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    yield from (np.asarray(points, np.int32) for points in found)
