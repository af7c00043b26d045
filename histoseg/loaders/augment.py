"""Training augmentation of MetaHistoSeg, Sec. 3.1, by albumentations, on image and map together.

The paper resizes, jitters the colours, flips, rotates and crops. Here one warp does the geometry and touches only the
pixels of the crop; where each pixel of a patch comes from has the same distribution (tests/loaders/test_augment.py).
Two things differ: pixels are interpolated once instead of twice, and contrast changes about the mean of the patch,
not of the whole image.
"""

from typing import Any

import albumentations as A  # noqa: N812  # the name its documentation uses
import cv2
import numpy as np
from jaxtyping import UInt8

from histoseg.config import Data
from histoseg.types import Image, SemanticMap


class ScaleRotateCrop(A.DualTransform):
    """Resize by a random factor, rotate by a random angle, crop a square at a random place: in one warp.

    The canvas is as large as the resized image. Where the canvas, turned, shows what lies outside the image, or is
    smaller than the crop, the image is mirrored.
    """

    def __init__(self, size_px: int, scale: tuple[float, float], rotate_deg: float) -> None:
        super().__init__(p=1.0)
        self.size_px = size_px
        self.scale = scale
        self.rotate_deg = rotate_deg

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002  # albumentations' signature
        """The warp, drawn: {"matrix": float64 (2, 3) from source to patch coordinates}."""
        height, width = params["shape"][:2]
        factor = self.py_random.uniform(*self.scale)
        angle = self.py_random.uniform(-self.rotate_deg, self.rotate_deg)
        canvas = np.array([width, height]) * factor
        # Where the patch begins on the canvas; a canvas smaller than the patch is centred in it.
        slack = canvas - self.size_px
        begin = np.where(slack > 0, slack * [self.py_random.random(), self.py_random.random()], slack / 2)
        # OpenCV counts from pixel centres: a point at distance d from the left edge has coordinate d - 0.5.
        matrix = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), angle, factor)
        matrix[:, 2] += canvas / 2 - 0.5 - (np.array([width, height]) / 2 - 0.5) - begin
        return {"matrix": matrix}

    def apply(self, img: np.ndarray, matrix: np.ndarray, **_: Any) -> np.ndarray:
        """The image's patch, interpolated bilinearly."""
        return self._warp(img, matrix, cv2.INTER_LINEAR)

    def apply_to_mask(self, mask: np.ndarray, matrix: np.ndarray, **_: Any) -> np.ndarray:
        """The map's patch: the nearest label, for labels have no in-between."""
        return self._warp(mask, matrix, cv2.INTER_NEAREST)

    def _warp(self, array: np.ndarray, matrix: np.ndarray, flags: int) -> np.ndarray:
        size = (self.size_px, self.size_px)
        return cv2.warpAffine(array, matrix, size, flags=flags, borderMode=cv2.BORDER_REFLECT_101)


class Augment:
    """Draws training patches. Not safe for several threads at once: each needs its own."""

    def __init__(self, data: Data) -> None:
        self._transform = A.Compose(
            [
                ScaleRotateCrop(data.patch_px, data.scale, data.rotate_deg),
                A.HorizontalFlip(p=0.5),
                A.VerticalFlip(p=0.5),
                A.ColorJitter(
                    brightness=(1 - data.brightness, 1 + data.brightness),
                    contrast=(1 - data.contrast, 1 + data.contrast),
                    saturation=(1 - data.saturation, 1 + data.saturation),
                    hue=(-data.hue, data.hue),
                    p=1.0,
                ),
            ]
        )

    def __call__(
        self, image: Image, semantic_map: SemanticMap, seed: int
    ) -> tuple[UInt8[np.ndarray, "P P 3"], UInt8[np.ndarray, "P P"]]:
        """One patch, the same for the same seed."""
        self._transform.set_random_seed(seed)
        drawn = self._transform(image=image, mask=semantic_map)
        return drawn["image"], drawn["mask"]
