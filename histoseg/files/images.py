"""Images as arrays."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from histoseg.errors import DataError
from histoseg.types import Image


@contextmanager
def _open(path: Path) -> Iterator[PillowImage.Image]:
    """The image, of any size; errors of Pillow become a DataError.

    Pillow and not OpenCV: OpenCV silently fills the rest of a truncated JPEG with grey.
    """
    limit = PillowImage.MAX_IMAGE_PIXELS
    PillowImage.MAX_IMAGE_PIXELS = None  # Sections of tissue exceed the 178 Mpx above which Pillow suspects an attack.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Unusual tags; unreadable pixels raise an error anyway.
            with PillowImage.open(path) as image:
                image.load()
                yield image
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: not a readable image ({reason}); fetch the file again") from error
    finally:
        PillowImage.MAX_IMAGE_PIXELS = limit


@contextmanager
def open_labels(path: Path) -> Iterator[PillowImage.Image]:
    """A label image, loaded, with its values as stored."""
    with _open(path) as image:
        yield image


def read_image(path: Path) -> Image:
    """The image as RGB."""
    with _open(path) as image:
        if image.mode.startswith(("I", "F")):
            raise DataError(f"{path}: pixels of more than 8 bits (mode {image.mode}); save it as 8-bit RGB")
        return np.array(image.convert("RGB"))
