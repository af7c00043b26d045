"""Square patches about the middle of objects, or side by side over an image. What lies outside is mirrored."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8

from histoseg.maps.windows import Window
from histoseg.types import Image


@dataclass(frozen=True, kw_only=True)
class ObjectPatches:
    """The patches about the objects of some images of a source.

    Attributes:
        source: Its name.
        index: The checksum of its index.
        centres: The middles of the objects, by the key of their image.
        read: Gives an image by its key.
        share: This rank's part of as many images; every image is some rank's.
    """

    source: str
    index: str
    centres: Mapping[str, Float64[np.ndarray, "_ 2"]]
    read: Callable[[str], Image]
    share: Callable[[int], Iterable[int]]


def cut_patches(image: Image, centres: Float64[np.ndarray, "N 2"], side_px: int) -> UInt8[np.ndarray, "N P P 3"]:
    """A patch about each centre, as Cerberus, Sec. 4.3.3, cuts them about nuclei.

    Pixel (side // 2, side // 2) of a patch is the one that its centre lies in. Where a patch reaches beyond the image,
    the image is mirrored about its outermost pixels: the paper does not say, and its training does so as well.

    Args:
        image: As the network wants it.
        centres: x, y; the middle of the first pixel is (0, 0).
        side_px: Side of a patch.
    """
    corners = np.floor(centres + 0.5).astype(np.int64) - side_px // 2
    windows = (Window(top=top, left=left, height=side_px, width=side_px) for left, top in corners.tolist())
    cut = [window.read(image) for window in windows]
    return np.stack(cut) if cut else np.empty((0, side_px, side_px, 3), np.uint8)


def grid_centres(height: int, width: int, side_px: int) -> Float64[np.ndarray, "N 2"]:
    """Centres of patches that lie side by side over an image from its upper left corner on, row by row.

    The last of a row or column reaches beyond an image whose sides are no multiples.
    """
    y, x = (np.arange(-(-side // side_px)) * side_px + float(side_px // 2) for side in (height, width))
    return np.stack([np.tile(x, len(y)), np.repeat(y, len(x))], axis=1)
