"""Label maps: the number or class of each pixel, from images and from files of arrays."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int32
from PIL import Image as PillowImage

from histoseg.errors import DataError
from histoseg.files.arrays import open_array
from histoseg.files.images import open_labels
from histoseg.files.instances import Instances, are_whole, count_blends, span, to_instance_map, to_objects
from histoseg.files.mat import load_mat
from histoseg.files.notes import note
from histoseg.types import IGNORE, InstanceMap, SemanticMap

LOSSY_FORMATS = ("JPEG", "MPO", "WEBP", "JPEG2000")
LOSSY_COMPRESSIONS = ("jpeg", "tiff_jpeg", "webp")  # Within TIFF
MAX_UNKNOWN = 0.01  # Of the pixels: smoothed borders have colours of their own, whole objects must not.
CLEAR = -1  # Among colours as numbers: a pixel without one
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
VISIBLE = 8  # A step between grey values that an eye sees: a palette of such steps is for display.


def read_labels(path: Path, *, lossy: bool = False) -> SemanticMap:
    """The class ids of a one-channel image, of a palette image the indices, or of a .npy file.

    Args:
        path: The file.
        lossy: Whether a format that changes values, such as JPEG, will do: only where they are cut at a threshold.

    Raises:
        DataError: If the file is damaged, has several different channels, or values that are no ids up to 255.
    """
    values = open_array(path) if path.suffix.lower() == ".npy" else _read_values(path, lossy=lossy)
    if values.ndim != 2:
        raise DataError(f"{path}: labels of shape {values.shape}; expected one channel of class ids; correct the mask")
    if not are_whole(values) or values.max(initial=0) > 255:
        raise DataError(
            f"{path}: labels with {span(values)}; expected whole numbers, values up to 255; correct the mask"
        )
    if not lossy and count_blends(values[::4]):  # Some rows show it as well as all.
        note("label images whose classes blend into each other, as resizing by interpolation makes them")
    return values.astype(np.uint8)


def read_instance_map(path: Path, *, name: str = "inst_map", instances: Instances = "numbered") -> InstanceMap:
    """The number of each pixel's object, 0 = none, of an image of 8, 16 or 32 bits, or of a .npy or .mat file.

    Args:
        path: The file.
        name: The array's name in a .mat file.
        instances: Whether objects are "numbered", or each connected piece of one number is one ("components"; pixels
            that touch by a corner are connected).

    Raises:
        DataError: If the file is damaged or in a lossy format, or its values are no numbers of objects, see
            `histoseg.files.instances`.
    """
    values = _read_numbers(path, name)
    return to_objects(to_instance_map(values, path), instances, path)


def _read_numbers(path: Path, name: str) -> np.ndarray:
    ending = path.suffix.lower()
    if ending == ".npy":
        return np.squeeze(open_array(path))
    if ending != ".mat":
        return _read_values(path)
    if name not in (content := load_mat(path, [name])):
        raise DataError(f"{path}: has no {name}; name the array that numbers objects")
    return content[name]


def read_colour_map(path: Path, colours: Mapping[tuple[int, int, int], int]) -> SemanticMap:
    """The class of each pixel's colour, of an RGB, RGBA or palette image.

    Pixels of another colour are IGNORE, and counted; wholly transparent ones are class 0, others count as stored.

    Args:
        path: The file.
        colours: The class of each red, green, blue.

    Raises:
        DataError: If more than one in a hundred pixels has another colour, or the format is lossy.
    """
    found = read_colours(path)
    classes, is_known = np.full(found.shape, IGNORE, np.uint8), found == CLEAR
    classes[is_known] = 0
    for (red, green, blue), number in colours.items():
        has_colour = found == (red << 16) + (green << 8) + blue
        classes[has_colour] = number
        is_known |= has_colour
    unknown = int(np.count_nonzero(~is_known))
    if unknown > MAX_UNKNOWN * is_known.size:
        values, counts = np.unique(found[~is_known], return_counts=True)
        often = ", ".join(f"#{values[i]:06x}" for i in counts.argsort()[::-1][:3])
        raise DataError(
            f"{path}: {unknown} of {is_known.size} pixels have a colour without a class, most often {often}; name its"
            " class, or save the mask without smoothing"
        )
    note("pixels of a colour without a class, not labelled", unknown)
    return classes


def read_colours(path: Path) -> Int32[np.ndarray, "H W"]:
    """Each pixel's colour as a number, 0xff0000 for red, of an RGB, RGBA or palette image; CLEAR if it is transparent.

    A colour counts as it is stored, however faint its opacity.

    Raises:
        DataError: If the file is damaged, of 16 bits per channel, or in a lossy format.
    """
    with open_labels(path) as image:
        _require_lossless(image, path)
        red, green, blue, opacity = np.array(image.convert("RGBA")).astype(np.int32).transpose(2, 0, 1)
    return np.where(opacity == 0, np.int32(CLEAR), (red << 16) + (green << 8) + blue)


def _read_values(path: Path, *, lossy: bool = False) -> np.ndarray:
    """The values of an image; equal colour channels, and an opacity that is the same everywhere, count for nothing."""
    with open_labels(path) as image:
        if not lossy:
            _require_lossless(image, path)
        values = np.array(image)
        if image.mode == "P":
            _require_indices(image, values, path)
        if image.mode in ("LA", "RGBA") and (values[:, :, -1:] == values[0, 0, -1]).all():
            values = values[:, :, :-1]
    if values.ndim == 3 and (values == values[:, :, :1]).all():
        return values[:, :, 0]
    if values.ndim != 2:
        raise DataError(
            f"{path}: labels in colour, shape {values.shape}; expected one channel of class ids or numbers; save them"
            " as grey values"
        )
    return values


def _require_lossless(image: PillowImage.Image, path: Path) -> None:
    if image.format in LOSSY_FORMATS or image.info.get("compression") in LOSSY_COMPRESSIONS:
        raise DataError(
            f"{path}: labels in a lossy format ({image.format}), which changes numbers near every border; save the"
            " original labels as PNG"
        )


def _require_indices(image: PillowImage.Image, values: np.ndarray, path: Path) -> None:
    """Refuse a palette whose indices may be no labels: a program that saves space sorts colours or grey values.

    Then another index than 0 is black, or indices are neither grey values nor shades that rise or fall with them.
    """
    palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    used = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    colours = {int(i): tuple(palette[i].tolist()) for i in used if i < len(palette)}
    black = [i for i, colour in colours.items() if colour == BLACK and i]
    if black and colours.get(0, WHITE) not in (BLACK, WHITE):
        raise DataError(
            f"{path}: a palette image in which index 0 has the colour {colours[0]} and index {black[0]} is black: its"
            " indices are no labels; save the numbers as grey values, or the colours as RGB"
        )
    greys = {i: colour[0] for i, colour in colours.items() if len(set(colour)) == 1}
    if greys.keys() == colours.keys() and not _are_shades(greys):
        raise DataError(
            f"{path}: a palette image in which indices {list(greys)} have the grey values {list(greys.values())}: which"
            " of them are the labels is not certain; save it as grey values without a palette"
        )
    if any(len(set(colour)) > 1 for colour in colours.values()):
        note("label images with a palette of colours, whose indices are taken as labels")


def _are_shades(greys: Mapping[int, int]) -> bool:
    """Whether each index has its own number as grey value, or greys rise or fall with the indices in visible steps."""
    values = list(greys.values())
    steps, is_hidden = np.diff(values), any(0 < value < VISIBLE for value in values)
    is_display = not is_hidden and bool((steps >= VISIBLE).all() or (steps <= -VISIBLE).all())
    return is_display or values == list(greys)
