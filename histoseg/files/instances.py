"""Numbered objects: whether the values of a map are numbers of objects at all, and numbering the pieces of a mask."""

from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np

from histoseg.errors import ConfigError, DataError
from histoseg.files.notes import note
from histoseg.maps.objects import compact_ids, count_pieces, number_pieces
from histoseg.types import InstanceMap

Instances = Literal["numbered", "components"]
INSTANCES: tuple[Instances, ...] = get_args(Instances)

REMEDY = "fetch or write the file again"
OPTION = 'prepare with --option instances=components (in a source.toml, instances = "components")'
MANY_PIECES = 4  # The border of an image or an artefact cuts an object into two or three.
IN_PIECES = f"images whose numbers have many separate pieces each; if they are masks, {OPTION}"
# A clean map steps from one number to the next. In one that was resized by interpolation, or was a JPEG, 0.3 of all
# steps or more lead to a single pixel of a value of its own. Published maps of glands and nuclei have below 0.015.
INTERPOLATED = 0.2
MIN_STEPS = 100  # Fewer say nothing.
LARGE = 2**16  # Pixels: every second row and column of a larger map shows whether a closer look is needed.
HIGHEST = (255, 65535)  # Of 8 and 16 bits: the background where objects are numbered from 0 or it was -1
BORDER = 0.5  # Of the image's border: a label with more of it surrounds the others.


def require_choice(instances: str, source: str) -> Instances:
    """The choice, after checking that it is one.

    Raises:
        ConfigError: If it is none of `INSTANCES`.
    """
    for choice in INSTANCES:
        if instances == choice:
            return choice
    raise ConfigError(f"no instances {instances!r} for {source}; choose from {', '.join(INSTANCES)}")


def to_instance_map(values: np.ndarray, where: Path | str, name: str = "labels") -> InstanceMap:
    """Numbers of objects, 0 = none, of any type of number, as int32.

    Args:
        values: What the file holds.
        where: The file, for messages.
        name: What the file calls them, for messages.

    Raises:
        DataError: If values are negative, fractional or too large, the background has a number, or the map was resized
            by interpolation.
    """
    if values.ndim != 2 or not are_whole(values):
        raise DataError(
            f"{where}: {name} of shape {values.shape} and {span(values)};"
            f" expected two axes and whole numbers from 0 (no object) up; {REMEDY}"
        )
    _require_background(values, where)
    _require_steps(values, where)
    return values.astype(np.int32)


def to_objects(instance_map: InstanceMap, instances: Instances, where: Path | str) -> InstanceMap:
    """The objects of a map: its numbers, or ("components") each connected piece of one number.

    Pixels that touch by a corner are connected.

    Raises:
        DataError: If objects are "numbered", but the map is a mask of 0 and 255.
    """
    if instances == "components":
        return number_pieces(instance_map)
    _doubt_pieces(instance_map, where)
    return instance_map


def are_whole(values: np.ndarray) -> bool:
    """Whether all values are integers that int32 holds, none negative."""
    if values.dtype.kind not in "buif":
        return False
    if values.dtype.kind in "bu" and values.dtype.itemsize < 4:
        return True
    inside = bool(((values >= 0) & (values <= np.iinfo(np.int32).max)).all())  # Not-a-number is in no range.
    return inside and (values.dtype.kind != "f" or bool((values == np.floor(values)).all()))


def span(values: np.ndarray) -> str:
    """The lowest and the highest value, for messages."""
    if values.dtype.kind not in "buif" or values.size == 0:
        return f"type {values.dtype}"
    return f"values from {values.min()} to {values.max()}"


def _require_background(values: np.ndarray, where: Path | str) -> None:
    """Refuse a map in which another label than 0 surrounds the others, if none is 0 or it is a type's highest."""
    if values.size == 0:
        return
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    labels, counts = np.unique(border, return_counts=True)
    surround = labels[counts.argmax()]
    if surround == 0:
        return
    has_zero = values.min() == 0
    if has_zero and (surround not in HIGHEST or np.isin(values, (0, surround)).all()):
        return
    if (values == surround).all():
        note("images that one object fills, without background")
    elif counts.max() > BORDER * len(border):
        share = (values == surround).mean()
        raise DataError(
            f"{where}: {'' if has_zero else 'no pixel is 0, the background, and '}label {surround:g} has {share:.0%} of"
            " the pixels and most of the border; number the background 0 and the objects from 1 up"
        )


def _require_steps(values: np.ndarray, where: Path | str) -> None:
    """Refuse a map in which numbers blend into each other."""
    if blends := count_blends(values):
        raise DataError(
            f"{where}: {blends} single pixels lie between two other values, as resizing by interpolation or a lossy"
            " format makes them; they are no numbers of objects: resize the original by nearest neighbour"
        )


def count_blends(values: np.ndarray) -> int:
    """Single pixels between two other values, along rows; 0 unless they are as many as interpolation makes."""
    flat = values.ravel()
    steps = np.flatnonzero(flat[1:] != flat[:-1])
    alone = steps[:-1][np.diff(steps) == 1] + 1  # Pixels that differ from both neighbours
    between = int(np.count_nonzero(flat[alone - 1] != flat[alone + 1]))
    return between if len(steps) >= MIN_STEPS and between > INTERPOLATED * len(steps) else 0


def _doubt_pieces(instance_map: InstanceMap, where: Path | str) -> None:
    """Note a map whose numbers have many pieces each; refuse one of 0 and 255 alone, which numbers nothing."""
    sparse = instance_map[::2, ::2] if instance_map.size > LARGE else instance_map
    numbers = compact_ids(sparse)[0]
    if not len(numbers) or cv2.connectedComponents((sparse > 0).view(np.uint8), connectivity=8)[0] - 1 <= len(numbers):
        return  # No more pieces than numbers: most numbers have one.
    pieces = count_pieces(instance_map)
    if len(pieces) == 1 and instance_map.max() == 255:
        raise DataError(
            f"{where}: the values are 0 and 255 only, and 255 has {pieces[0]} separate pieces: a mask, not numbered"
            f" objects; {OPTION} to number the pieces"
        )
    if 2 * int(np.count_nonzero(pieces >= MANY_PIECES)) > len(pieces):
        note(IN_PIECES)
