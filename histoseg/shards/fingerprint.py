"""A picture of an image small enough to keep, by which the same tissue is recognised in other images.

Data sets contain each other's images: at another resolution, encoded again, or cut. A fingerprint is the image in grey
at one common resolution. What is compared is its detail, structures about the size of nuclei: plain tissue of the same
coarse shades is common, nuclei at the same positions are not.
"""

import base64
from typing import Annotated

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, model_validator

from histoseg.types import Image

MPP = 4.0  # Half a nucleus: coarser, unrelated tissue begins to look alike; finer, a large image takes megabytes.
GRAIN_UM = 2.0  # Deviation of the blur before sampling: half a pixel, so that the position of pixels matters little.
DETAIL_UM = 6.0  # Shades wider than this many microns are removed before images are compared.
MIN_CONTRAST = 3.0  # Deviation of the detail in grey levels: tissue has 5 and more, empty glass under 1.
MIN_PIXELS = 20  # Over how many pixels the detail must spread: one speck on glass looks like any other.

Grey = Float32[np.ndarray, "H W"]


def _from_base64(value: object) -> object:
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


def _to_base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


class Fingerprint(BaseModel):
    """An image in grey at MPP microns per pixel.

    Attributes:
        height, width: Its size in pixels of that resolution.
        pixels: Row by row, one byte each; base64 in JSON.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int
    width: int
    pixels: Annotated[bytes, BeforeValidator(_from_base64), PlainSerializer(_to_base64, when_used="json")]

    @model_validator(mode="after")
    def _has_its_size(self) -> "Fingerprint":
        if len(self.pixels) != self.height * self.width:
            raise ValueError(f"{len(self.pixels)} pixels for a size of {self.height} x {self.width}")
        return self

    @property
    def grey(self) -> UInt8[np.ndarray, "H W"]:
        """The picture, read-only."""
        return np.frombuffer(self.pixels, np.uint8).reshape(self.height, self.width)

    @property
    def has_detail(self) -> bool:
        """Whether it shows enough to be distinguished: empty glass looks the same everywhere."""
        return shows_enough(detail_of(self.grey))


def fingerprint(image: Image, mpp: float) -> Fingerprint:
    """The fingerprint of an image at a resolution in microns per pixel."""
    if mpp <= 0 or image.size == 0:
        raise ValueError(
            f"cannot make a fingerprint of an image of {image.shape[:2]} pixels at {mpp} microns per pixel"
        )
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), GRAIN_UM / mpp)
    height, width = (max(1, round(length * mpp / MPP)) for length in grey.shape)
    return Fingerprint(height=height, width=width, pixels=resize(grey, height, width).tobytes())


def detail_of(grey: UInt8[np.ndarray, "H W"]) -> Grey:
    """The picture without its wide shades; its mean is about 0."""
    levels = grey.astype(np.float32)
    return np.asarray(levels - cv2.GaussianBlur(levels, (0, 0), DETAIL_UM / MPP), dtype=np.float32)


def shows_enough(detail: Grey) -> bool:
    """Whether there is contrast, and in more than a few pixels (their effective number, as by participation ratio)."""
    energy = detail.astype(np.float64) ** 2
    return bool(energy.mean() >= MIN_CONTRAST**2 and energy.sum() ** 2 >= MIN_PIXELS * (energy**2).sum())


def resize(grey: UInt8[np.ndarray, "H W"], height: int, width: int) -> UInt8[np.ndarray, "A B"]:
    """The picture in another size; each pixel is the mean of the area that it covers."""
    return np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
