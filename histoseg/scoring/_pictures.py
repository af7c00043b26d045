"""Pictures of scored images, small enough for a page: label maps in colour, objects as outlines."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from histoseg.maps.colours import CLASS_COLOURS, to_rgb
from histoseg.maps.objects import compact_ids
from histoseg.store.objects import Store
from histoseg.types import IGNORE, Image, InstanceMap, SemanticMap

PANELS = 2  # Scored images of a run, or of each of its structures, whose pictures are kept
PANEL_PX = 512  # The longer side of a kept picture
BACKGROUND_COLOUR = "#16191d"  # Class 0 is left dark.
IGNORE_COLOUR = "#8a8f96"


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Where the pictures of a run's images are put; only one rank puts them."""

    store: Store
    folder: str
    leads: bool

    def put(self, image_key: str, pictures: Mapping[str, UInt8[np.ndarray, "H W 3"]]) -> dict[str, str]:
        """Store pictures of one image as PNG, shrunk to at most PANEL_PX; returns their store keys by name."""
        keys = {name: f"{self.folder}/{image_key}-{name}.png" for name in pictures}
        for name, picture in pictures.items() if self.leads else ():
            shrunk = cv2.cvtColor(shrink(picture, cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
            self.store.put(keys[name], np.asarray(cv2.imencode(".png", shrunk)[1]).tobytes())
        return keys


def shrink(picture: UInt8[np.ndarray, "..."], interpolation: int) -> UInt8[np.ndarray, "..."]:
    """The picture with its longer side at most PANEL_PX."""
    height, width = picture.shape[:2]
    factor = min(1.0, PANEL_PX / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(picture, size, interpolation=interpolation), np.uint8)


def paint(semantic_map: SemanticMap) -> UInt8[np.ndarray, "_ _ 3"]:
    """The map in colour at the size of a kept picture: class 0 dark, IGNORE grey."""
    palette = np.array([to_rgb(class_colour(i)) for i in range(256)], np.uint8)
    return np.asarray(palette[shrink(semantic_map, cv2.INTER_NEAREST)])


def class_colour(number: int) -> str:
    """The colour of a class; colours repeat after the seventh."""
    if number in (0, IGNORE):
        return IGNORE_COLOUR if number else BACKGROUND_COLOUR
    return CLASS_COLOURS[(number - 1) % len(CLASS_COLOURS)]


def legend_of(classes: Sequence[str], truth: SemanticMap) -> dict[str, str]:
    """The colour of each class in `paint`, and of pixels without annotation if the truth has any."""
    legend = {name: class_colour(i) for i, name in enumerate(classes)}
    return legend | ({"not annotated": IGNORE_COLOUR} if (truth == IGNORE).any() else {})


def legend_of_outlines(classes: Sequence[str], shown: Iterable[int]) -> dict[str, str]:
    """The colour of each class in `outlined_by_class`, and of objects without a class if some are shown."""
    legend = {name: class_colour(i) for i, name in enumerate(classes) if i}
    return legend | ({"no class": BACKGROUND_COLOUR} if 0 in shown else {})


def outlined(image: Image, instance_map: InstanceMap) -> Image:
    """The image with a line inside the border of each object, wide enough to be seen in a kept picture."""
    picture = image.copy()
    picture[_border(instance_map)] = to_rgb(CLASS_COLOURS[3])
    return picture


def outlined_by_class(image: Image, instance_map: InstanceMap, classes: UInt8[np.ndarray, " N"]) -> Image:
    """The same with lines in the colour of each object's class, in ascending order of ids."""
    palette = np.array([to_rgb(class_colour(i)) for i in range(256)], np.uint8)
    border, compact = _border(instance_map), compact_ids(instance_map)[1]
    picture = image.copy()
    picture[border] = palette[classes[compact[border] - 1]]
    return picture


def _border(instance_map: InstanceMap) -> Bool[np.ndarray, "H W"]:
    ids = instance_map.astype(np.float32)  # OpenCV filters no int32; ids stay below 2^24, which float32 holds exactly.
    width = 1 + max(instance_map.shape) // PANEL_PX
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    return np.asarray((cv2.dilate(ids, kernel) != cv2.erode(ids, kernel)) & (instance_map > 0))
