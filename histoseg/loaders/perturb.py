"""Blur, noise and colours as in the code published with Cerberus (Graham et al. 2023).

The paper, Sec. 4.4, names "Gaussian blur, median blur and colour perturbation"; how much of each, the published code
says. albumentations draws the deviation of a Gauss apart from its kernel, rounds noise towards zero and multiplies
brightness, so these transforms are our own. Two slips of the published code are not repeated: it rounds down whenever
numbers become bytes, so that images get darker, and its change of contrast returns the image as it was.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import albumentations as A  # noqa: N812  # the name its documentation uses
import cv2
import numpy as np

from histoseg.runs.config import Data
from histoseg.types import Image

KERNELS_PX = (1, 3, 5)  # Published: a Gauss draws one for each direction, a median one; 1 changes nothing.
MAX_NOISE = 0.05 * 255  # Published: the largest standard deviation
SHARED_NOISE_P = 0.5  # Published: how often all channels of a pixel get the same noise
HUES = 180  # Of OpenCV, in images of 8 bits


class BlurOrNoise(A.ImageOnlyTransform):
    """Blur by a Gauss, blur by a median, or add normal noise: each in a third of all cases."""

    def __init__(self) -> None:
        super().__init__(p=1.0)

    def get_params(self) -> dict[str, Callable[[Image], Image]]:
        """The change, drawn: {"change": a function of the image}."""
        draw = self.py_random
        kind = draw.randrange(3)
        if kind == 0:
            return {"change": partial(blur, size_px=(draw.choice(KERNELS_PX), draw.choice(KERNELS_PX)))}
        if kind == 1:
            return {"change": partial(cv2.medianBlur, ksize=draw.choice(KERNELS_PX))}
        is_shared = draw.random() < SHARED_NOISE_P
        deviation, seed = draw.uniform(0, MAX_NOISE), draw.getrandbits(31)
        return {"change": partial(add_noise, deviation=deviation, is_shared=is_shared, seed=seed)}

    def apply(self, img: Image, change: Callable[[Image], Image], **_: Any) -> Image:
        return change(img)


class ShiftColours(A.ImageOnlyTransform):
    """Change hue, saturation, brightness and contrast, in random order."""

    def __init__(self, data: Data) -> None:
        super().__init__(p=data.colour_p)
        self.drawn = data

    def get_params(self) -> dict[str, list[Callable[[Image], Image]]]:
        """The changes in their order, drawn: {"changes": functions of the image}."""
        hue, saturation, brightness, contrast = (
            self.py_random.uniform(-most, most)
            for most in (self.drawn.hue, self.drawn.saturation, self.drawn.brightness, self.drawn.contrast)
        )
        changes: list[Callable[[Image], Image]] = [
            partial(turn_hue, units=round(HUES * hue)),
            partial(saturate, factor=1 + saturation),
            partial(brighten, levels=255 * brightness),
            partial(spread, factor=1 + contrast),
        ]
        self.py_random.shuffle(changes)
        return {"changes": changes}

    def apply(self, img: Image, changes: list[Callable[[Image], Image]], **_: Any) -> Image:
        for change in changes:
            img = change(img)
        return img


def blur(image: Image, size_px: tuple[int, int]) -> Image:
    """The image blurred by a Gauss of as many pixels across and down.

    Its deviation follows from the size: 0.3 ((size - 1) / 2 - 1) + 0.8 in each direction. For sizes up to 5, OpenCV
    takes the binomial kernels nearest to that: (1, 2, 1) / 4 and (1, 4, 6, 4, 1) / 16.
    """
    return cv2.GaussianBlur(image, size_px, 0, borderType=cv2.BORDER_REPLICATE)


def add_noise(image: Image, deviation: float, *, is_shared: bool, seed: int) -> Image:
    """The image with normal noise, which all channels of a pixel share or each has of its own."""
    height, width, channels = image.shape
    noise = np.empty((height, width, 1 if is_shared else channels), np.int16)
    cv2.setRNGSeed(seed)  # Of this thread
    cv2.randn(noise, np.zeros(noise.shape[2]), np.full(noise.shape[2], deviation))
    return cv2.add(image, cv2.merge([noise] * channels) if is_shared else noise, dtype=cv2.CV_8U)


def turn_hue(image: Image, units: int) -> Image:
    """The image with another hue, by as many of OpenCV's 180 steps around the circle."""
    if not units:
        return image
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    turned = ((np.arange(256) + units) % HUES).astype(np.uint8)
    cv2.insertChannel(cv2.LUT(cv2.extractChannel(hsv, 0), turned), hsv, 0)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def saturate(image: Image, factor: float) -> Image:
    """The image with each pixel's difference from its own grey multiplied."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, factor, grey, 1 - factor, 0)


def brighten(image: Image, levels: float) -> Image:
    """The image with the same added at every level, so dark nuclei change as much as bright stroma."""
    return cv2.LUT(image, _to_bytes(np.arange(256) + levels))


def spread(image: Image, factor: float) -> Image:
    """The image with each channel's difference from its mean multiplied."""
    means = np.array(cv2.mean(image)[:3])
    table = _to_bytes(np.arange(256)[:, None] * factor + means * (1 - factor))
    return cv2.LUT(image, table[None])


def _to_bytes(numbers: np.ndarray) -> np.ndarray:
    return np.asarray(np.rint(numbers).clip(0, 255), np.uint8)
