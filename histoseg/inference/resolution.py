"""Microns per pixel of an image file: what the file states, what a person gives, and whether the two agree."""

import math
import warnings
from pathlib import Path

from PIL import Image as PillowImage

from histoseg.errors import DataError

# Scanners are within 0.1 and 4; files that only state 72 or 300 dots per inch for print say nothing about tissue.
CREDIBLE_MPP = (0.05, 5.0)
DISAGREEMENT = 0.05
MICRONS_PER_INCH = 25400


def find_mpp(path: Path, given: float | None) -> float:
    """Microns per pixel of an image, as given or as its file says."""
    stored = stored_mpp(path)
    if given is None and stored is None:
        raise DataError(f"{path}: the file does not say how large a pixel is; give --mpp, its microns per pixel")
    if given is not None and stored is not None and abs(given / stored - 1) > DISAGREEMENT:
        raise DataError(
            f"{path}: --mpp {given:g}, but the file says {stored:.4g} microns per pixel; leave out --mpp to believe "
            "the file, or correct the resolution that it states"
        )
    mpp = given if given is not None else stored
    return float(mpp or 0)


def resolution_caveat(image_mpp: float, model_mpp: float) -> tuple[str, ...]:
    """A sentence about an image of another resolution than a model's; nothing if they agree."""
    if abs(image_mpp / model_mpp - 1) <= DISAGREEMENT:
        return ()
    return (f"the model was trained at {model_mpp:.4g} µm per pixel; this image has {image_mpp:.4g} and was resampled",)


def stored_mpp(path: Path) -> float | None:
    """Microns per pixel that a PNG or TIFF states; None if it states none, or one that no microscope has."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Odd tags, large images: `read_image` has judged the file already.
            with PillowImage.open(path) as header:
                dots = header.info.get("dpi") if header.format in ("PNG", "TIFF") else None
    except PillowImage.DecompressionBombError:
        return None
    if not dots or not all(math.isfinite(per_inch) and per_inch > 0 for per_inch in dots):
        return None
    x, y = (MICRONS_PER_INCH / float(per_inch) for per_inch in dots)
    low, high = CREDIBLE_MPP
    return x if low <= x <= high and abs(x / y - 1) < 0.01 else None
