"""Training augmentation by albumentations, on an image and its maps together.

MetaHistoSeg, Sec. 3.1, resizes, jitters the colours, flips, rotates and crops; Cerberus, Sec. 4.4, also stretches,
shears and blurs, and changes colours in another way (`perturb.py`). Here a single warp does all geometry and computes
only the pixels of the crop; the distribution of each pixel's origin is the same (tests/loaders/test_augment.py). Two
things differ: pixels are interpolated once, bilinearly, and contrast changes around the mean of the patch instead of
the whole image.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import albumentations as A  # noqa: N812  # the name its documentation uses
import cv2
import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from histoseg.loaders.perturb import BlurOrNoise, ShiftColours
from histoseg.runs.config import Data
from histoseg.types import Image


class AffineCrop(A.DualTransform):
    """Resize by a random factor, shear and rotate by random angles, crop a square at a random place: in one warp.

    The canvas is as large as the resized image. Where the rotated canvas reaches beyond the image, or the canvas is
    smaller than the crop, the image is mirrored.
    """

    def __init__(self, data: Data) -> None:
        super().__init__(p=1.0)
        self.drawn = data

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002  # albumentations' signature
        """The warp, drawn: {"matrix": float64 (2, 3) from source to patch coordinates}."""
        height, width = params["shape"][:2]
        drawn, size = self.drawn, np.array([width, height])
        across = self.py_random.uniform(*drawn.scale)
        factors = np.array([across, self.py_random.uniform(*drawn.scale) if drawn.stretch else across])
        angle = np.deg2rad(self.py_random.uniform(-drawn.rotate_deg, drawn.rotate_deg))
        shear = np.deg2rad(self.py_random.uniform(-drawn.shear_deg, drawn.shear_deg)) if drawn.shear_deg else 0.0
        canvas = size * factors
        # Where the patch begins on the canvas; a canvas smaller than the patch is centred in it.
        slack = canvas - drawn.side_px
        begin = np.where(slack > 0, slack * [self.py_random.random(), self.py_random.random()], slack / 2)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        linear = turn @ [[1, np.tan(shear)], [0, 1]] @ np.diag(factors)
        # The middle stays the middle. OpenCV counts from pixel centres: half a pixel from the edge is coordinate 0.
        offset = canvas / 2 - 0.5 - begin - linear @ (size / 2 - 0.5)
        return {"matrix": np.column_stack([linear, offset])}

    def apply(self, img: np.ndarray, matrix: np.ndarray, **_: object) -> np.ndarray:
        return self._warp(img, matrix, cv2.INTER_LINEAR)

    def apply_to_mask(self, mask: np.ndarray, matrix: np.ndarray, **_: object) -> np.ndarray:
        """The map's patch: the nearest label, because labels cannot be interpolated."""
        return self._warp(mask, matrix, cv2.INTER_NEAREST)

    def apply_to_keypoints(self, keypoints: np.ndarray, matrix: np.ndarray, **_: object) -> np.ndarray:
        """Positions of pixel centres in the patch, also those that lie outside of it."""
        moved = keypoints.copy()
        moved[:, :2] = keypoints[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        return moved

    def _warp(self, array: np.ndarray, matrix: np.ndarray, flags: int) -> np.ndarray:
        size = (self.drawn.side_px, self.drawn.side_px)
        return cv2.warpAffine(array, matrix, size, flags=flags, borderMode=cv2.BORDER_REFLECT_101)


class Augment:
    """Draws training patches. Not safe for several threads at once: each needs its own.

    With `whole`, images have one class each: patches then have `data.tissue_px` and are rotated by quarter turns.
    """

    def __init__(self, data: Data, *, whole: bool = False) -> None:
        data = replace(data, cut_px=data.tissue_px, rotate_deg=0.0) if whole else data
        self._transform = A.Compose(_steps(data, quarter_turns=whole))

    def __call__(
        self, image: Image, maps: Sequence[Shaped[np.ndarray, "H W"]], seed: int
    ) -> tuple[UInt8[np.ndarray, "P P 3"], tuple[Shaped[np.ndarray, "P P"], ...]]:
        """One patch of the image and of each of its maps, the same for the same seed."""
        self._transform.set_random_seed(seed)
        drawn = self._transform(image=image, masks=list(maps))
        return drawn["image"], tuple(drawn["masks"])


class BoxAugment:
    """Draws training patches with boxes, rotated by quarter turns and never sheared: boxes stay as tight as they were.

    Not safe for several threads at once: each needs its own.
    """

    def __init__(self, data: Data) -> None:
        steps = _steps(replace(data, rotate_deg=0.0, shear_deg=0.0), quarter_turns=True)
        points = A.KeypointParams(format="xy", remove_invisible=False)
        self._transform = A.Compose(steps, keypoint_params=points)

    def __call__(
        self, image: Image, corners: Float32[np.ndarray, "N 4"], seed: int
    ) -> tuple[UInt8[np.ndarray, "P P 3"], Float32[np.ndarray, "N 4"]]:
        """One patch of the image, and each box in pixels of the patch, even if it lies outside of it."""
        self._transform.set_random_seed(seed)
        # Points are centres of pixels there: the border between two pixels lies half a pixel further.
        drawn = self._transform(image=image, keypoints=corners.reshape(-1, 2) - 0.5)
        points = np.asarray(drawn["keypoints"], np.float32).reshape(-1, 2, 2) + np.float32(0.5)
        return drawn["image"], np.hstack([points.min(axis=1), points.max(axis=1)])


def _steps(data: Data, *, quarter_turns: bool) -> list[A.BasicTransform]:
    return [
        AffineCrop(data),
        *([A.RandomRotate90(p=1.0)] if quarter_turns else []),
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.5),
        *([BlurOrNoise()] if data.blur else []),
        ShiftColours(data) if data.additive else _jitter(data),
    ]


def _jitter(data: Data) -> A.BasicTransform:
    """Brightness, contrast, saturation and hue by factors, in random order (MetaHistoSeg, Sec. 3.1)."""
    return A.ColorJitter(
        brightness=(1 - data.brightness, 1 + data.brightness),
        contrast=(1 - data.contrast, 1 + data.contrast),
        saturation=(1 - data.saturation, 1 + data.saturation),
        hue=(-data.hue, data.hue),
        p=data.colour_p,
    )
