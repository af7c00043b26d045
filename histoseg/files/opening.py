"""An image file opened by Pillow; whatever goes wrong is one line with the path."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tifffile
from PIL import Image as PillowImage
from PIL import Jpeg2KImagePlugin, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from histoseg.errors import DataError

SAVE_AS_BYTES = "save it as 8-bit RGB, white as 255"
SAVE_UNCOMPRESSED = "save it uncompressed or by LZW"
SAVE_AS_NUMBERS = "save the numbers as whole numbers of 16 or 32 bits"

# Those of scanners, cameras and other programs for images, the likeliest first. Pillow has Ghostscript run PostScript.
FORMATS = ("PNG", "TIFF", "BMP", "JPEG", "GIF", "PPM", "WEBP", "JPEG2000")
PLUGINS = (TiffImagePlugin, WebPImagePlugin, Jpeg2KImagePlugin)
PillowImage.preinit()  # The plugins of the other formats. While one is missing, Pillow imports all that it has.


@contextmanager
def open_image(path: Path, remedy: str = SAVE_AS_BYTES) -> Iterator[PillowImage.Image]:
    """The image, opened and not loaded, of any size; whatever a decoder raises meanwhile becomes a DataError.

    Pillow and not OpenCV: OpenCV silently fills the rest of a truncated JPEG with grey. `remedy` is what to do with a
    TIFF of pixels that Pillow cannot read.
    """
    limit = PillowImage.MAX_IMAGE_PIXELS
    PillowImage.MAX_IMAGE_PIXELS = None  # Sections of tissue exceed the 178 Mpx above which Pillow suspects an attack.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Unusual tags; unreadable pixels raise an error anyway.
            with PillowImage.open(path, formats=FORMATS) as image:
                if image.format == "PNG":
                    _require_checksums(path)
                yield image
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{path}: needs more memory than there is; cut the image into regions") from error
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); correct its name or its permissions") from error
    except Exception as error:  # Damaged files make decoders raise anything: struct.error, IndexError, OverflowError.
        if isinstance(error, UnidentifiedImageError) and (what := _unusual_tiff(path, remedy)):
            raise DataError(f"{path}: {what}") from error
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{path}: not a readable image ({reason}); fetch the file again") from error
    finally:
        PillowImage.MAX_IMAGE_PIXELS = limit


def _require_checksums(path: Path) -> None:
    """Refuse a PNG with a damaged byte: while it decodes, Pillow only notices one that deflate cannot be read with."""
    with PillowImage.open(path, formats=("PNG",)) as image:
        image.verify()


def _unusual_tiff(path: Path, remedy: str) -> str:
    """What is unusual in a TIFF that Pillow cannot read, and what to do; empty for other files."""
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0].aspage()
            what = f"a TIFF of {page.dtype} pixels of shape {page.shape}"
            if page.compression != tifffile.COMPRESSION.NONE:
                what += f", compressed by {tifffile.COMPRESSION(page.compression).name}"
                remedy = SAVE_UNCOMPRESSED if page.dtype == "uint8" else remedy
            return f"{what}; {remedy}" if page.dtype else ""
    except Exception:  # Not a TIFF, or a damaged one
        return ""
