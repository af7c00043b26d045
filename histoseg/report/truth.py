"""A prepared image as it is, and beside it the same with its truth: outlines of objects, or classes of pixels."""

import cv2
import numpy as np
from jaxtyping import UInt8

from histoseg.errors import DataError
from histoseg.maps.colours import to_rgb
from histoseg.maps.lines import draw_outline, outlines_of
from histoseg.maps.objects import find_objects
from histoseg.slides.colours import class_colour
from histoseg.types import IGNORE, Boxes, Image, Kind, Sample

SHOWN_PX = 512  # The longest side of a shown image
LEAST_PX = 256  # Smaller images are shown twice as large.
TINT = 0.3  # How much a class of pixels covers the image
NOT_LABELLED = "#8a8f96"
GAP_PX = 8
FRAME_PX = 6
JPEG_QUALITY = 88
LINE_PX = 2

Picture = UInt8[np.ndarray, "_ _ 3"]


def draw_pair(sample: Sample, kind: Kind) -> bytes:
    """The image and the image with its truth side by side, as JPEG; of large images with objects, a part."""
    shown = _crop(sample) if kind == "instance" else sample
    height, width = shown.image.shape[:2]
    zoom = 2 if max(height, width) <= LEAST_PX else 1
    size = _fit(width * zoom, height * zoom)
    image = cv2.resize(shown.image, size, interpolation=cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA)
    picture = np.asarray(image, np.uint8).copy()
    if kind == "instance":
        _draw_objects(picture, shown, zoom)
    elif shown.boxes is not None:
        _draw_boxes(picture, shown.boxes, picture.shape[1] / shown.image.shape[1])
    elif kind == "patch":
        _draw_frame(picture, int(shown.semantic_map[0, 0]))
    else:
        _draw_classes(picture, shown)
    gap = np.full((picture.shape[0], GAP_PX, 3), 255, np.uint8)
    return _encode(np.concatenate([image, gap, picture], axis=1))


def _fit(width: int, height: int) -> tuple[int, int]:
    """The size at which an image is shown."""
    factor = min(1.0, SHOWN_PX / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


def _crop(sample: Sample) -> Sample:
    """The square with most labelled pixels, so that objects are seen at their own size."""
    height, width = sample.image.shape[:2]
    counts = (sample.semantic_map > 0).astype(np.float64)
    rows, columns = _starts(height), _starts(width)
    at = max(((top, left) for top in rows for left in columns), key=lambda place: counts[_square(place)].sum())
    here = _square(at)
    instance_map = None if sample.instance_map is None else sample.instance_map[here]
    return Sample(
        key=sample.key,
        patient=sample.patient,
        image=sample.image[here],
        semantic_map=sample.semantic_map[here],
        mpp=sample.mpp,
        instance_map=instance_map,
    )


def _starts(side: int) -> range:
    return range(0, max(1, side - SHOWN_PX + 1), SHOWN_PX // 2)


def _square(place: tuple[int, int]) -> tuple[slice, slice]:
    top, left = place
    return slice(top, top + SHOWN_PX), slice(left, left + SHOWN_PX)


def _draw_objects(picture: Picture, sample: Sample, zoom: int) -> None:
    """The outline of each object in the colour of its class; what is not labelled is greyed."""
    instance_map = sample.instance_map
    if instance_map is None:
        raise DataError(f"{sample.key} has no objects; prepare its source again")
    _grey(picture, (sample.semantic_map == IGNORE) & (instance_map == 0))
    found = find_objects(instance_map)
    for number, (top, left, bottom, right) in zip(found.ids.tolist(), found.boxes.tolist(), strict=True):
        mask = instance_map[top:bottom, left:right] == number
        kinds = sample.semantic_map[top:bottom, left:right][mask]
        for points in outlines_of(mask, zoom):
            draw_outline(picture, [points + np.array([left, top], np.int32) * zoom], colour_of(int(kinds[0])), LINE_PX)


def _draw_boxes(picture: Picture, boxes: Boxes, scale: float) -> None:
    edges = np.round(boxes.corners * scale).astype(int).tolist()
    for (left, top, right, bottom), kind in zip(edges, boxes.classes.tolist(), strict=True):
        cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), to_rgb(colour_of(kind)), LINE_PX)


def _draw_classes(picture: Picture, sample: Sample) -> None:
    """A tint and an outline for each class but the first."""
    size = picture.shape[1], picture.shape[0]
    shown = cv2.resize(sample.semantic_map, size, interpolation=cv2.INTER_NEAREST)
    _grey(picture, shown == IGNORE)
    for kind in np.unique(shown[(shown > 0) & (shown != IGNORE)]).tolist():
        colour = colour_of(kind)
        _tint(picture, shown == kind, colour)
        for points in outlines_of(shown == kind):
            draw_outline(picture, [points], colour, LINE_PX)


def _grey(picture: Picture, mask: np.ndarray) -> None:
    size = picture.shape[1], picture.shape[0]
    where = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    _tint(picture, where, NOT_LABELLED, 0.7)


def _tint(picture: Picture, where: np.ndarray, colour: str, share: float = TINT) -> None:
    picture[where] = np.round((1 - share) * picture[where] + share * np.array(to_rgb(colour)))


def _draw_frame(picture: Picture, kind: int) -> None:
    last = picture.shape[1] - 1, picture.shape[0] - 1
    cv2.rectangle(picture, (0, 0), last, to_rgb(colour_of(kind)), 2 * FRAME_PX)


def colour_of(kind: int) -> str:
    """The colour of a class; background is white where it must have one."""
    return NOT_LABELLED if kind == IGNORE else class_colour(kind) or "#ffffff"


def _encode(picture: Image) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return np.asarray(cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)[1]).tobytes()
