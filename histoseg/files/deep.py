"""Images of more than 8 bits per channel: read in full, and scaled to bytes by a stated rule or refused.

Pillow is not asked for them: it cuts 16-bit colour to its upper 8 bits, and reads planes of 16 bits as planes of 8.
"""

from pathlib import Path

import cv2
import numpy as np
import tifffile
from jaxtyping import Shaped
from PIL import Image as PillowImage

from histoseg.errors import DataError
from histoseg.files.claims import raw_modes
from histoseg.files.notes import note
from histoseg.files.opening import SAVE_AS_BYTES

BITS_PER_SAMPLE = 258  # TIFF tag
UPPER_HALF = 2**15
COLOUR_ONLY_AS_BYTES = ("PPM", "JPEG2000")  # Pillow cuts or scales their colours, and OpenCV does not read all.
SIZ_WITHIN, DEPTH_IN_SIZ = 4096, 38  # Bytes of a file in which its SIZ marker lies, and of the marker before the depth

Values = Shaped[np.ndarray, "H W C"]


def is_deep(image: PillowImage.Image) -> bool:
    """Whether an image, opened and not loaded, has pixels of more than 8 bits, or floats."""
    if image.mode.startswith(("I", "F")):
        return True
    if image.format == "PNG":
        return any(";16" in mode for mode in raw_modes(image))
    if image.format in COLOUR_ONLY_AS_BYTES:
        return _stated_bits(image) > 8
    bits = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, 8)
    return bool(max(bits if isinstance(bits, tuple) else (bits,)) > 8)


def read_deep(image: PillowImage.Image, page: int, path: Path) -> Values:
    """All bits of a page, as stored; the image is opened and not loaded."""
    if image.format == "TIFF":
        return _read_tiff(page, path)
    if image.format in COLOUR_ONLY_AS_BYTES and not image.mode.startswith("I"):
        raise DataError(f"{path}: colours of {_stated_bits(image)} bits in {image.format}; {SAVE_AS_BYTES}")
    image.load()
    values = np.array(image) if image.mode.startswith(("I", "F")) else _read_colour(image, path)
    return values if values.ndim == 3 else values[:, :, None]


def _stated_bits(image: PillowImage.Image) -> int:
    """Bits of a channel in a PPM, by its highest value, or in a JPEG 2000 (SIZ marker, ITU-T T.800, A.5.1)."""
    if image.format == "PPM":
        arguments = [tile[3] for tile in getattr(image, "tile", ())]  # "RGB" for bytes, else with the highest value
        return max((each[-1].bit_length() for each in arguments if isinstance(each, tuple)), default=8)
    with Path(getattr(image, "filename", "")).open("rb") as file:
        _, marker, sizes = file.read(SIZ_WITHIN).partition(b"\xff\x4f\xff\x51")
    return (sizes[DEPTH_IN_SIZ] & 0x7F) + 1 if marker and len(sizes) > DEPTH_IN_SIZ else 8


def _read_colour(image: PillowImage.Image, path: Path) -> Values:
    """The pixels of a PNG of 16-bit colours, of which Pillow has the upper bytes; OpenCV fills what is damaged."""
    found = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is not None and found.ndim == 3 and found.dtype == np.uint16:
        values = np.asarray(found[:, :, [2, 1, 0, *range(3, found.shape[2])]], np.uint16)  # OpenCV has BGR.
        if np.array_equal(values >> 8, np.asarray(image.convert("RGBA" if values.shape[2] == 4 else "RGB"))):
            return values
    raise DataError(f"{path}: not a readable image (damaged, or of unusual 16-bit pixels); {SAVE_AS_BYTES}")


def _read_tiff(number: int, path: Path) -> Values:
    with tifffile.TiffFile(path) as file:
        page = file.pages[number]
        if not isinstance(page, tifffile.TiffPage):  # One of a series of equal pages
            page = page.aspage()
        end = max(map(sum, zip(page.dataoffsets, page.databytecounts, strict=True)), default=0)
        if end > file.filehandle.size:
            raise DataError(f"{path}: its pixels end at byte {end} of {file.filehandle.size}; fetch the file again")
        values = _decode(page, path)
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            values = np.iinfo(values.dtype).max - values
        elif page.photometric not in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB):
            model = tifffile.PHOTOMETRIC(page.photometric).name
            raise DataError(f"{path}: pixels of type {values.dtype} in colour model {model}; {SAVE_AS_BYTES}")
        planes_first = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and values.ndim == 3
    values = np.moveaxis(values, 0, 2) if planes_first else values
    return values if values.ndim == 3 else values[:, :, None]


def _decode(page: tifffile.TiffPage, path: Path) -> np.ndarray:
    try:
        return page.asarray()
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        what = f"pixels of type {page.dtype} compressed by {tifffile.COMPRESSION(page.compression).name}"
        remedy = f"install the package imagecodecs, which reads them, or {SAVE_AS_BYTES}"
        raise DataError(f"{path}: {what}; {remedy}") from error


def turn(values: Values, orientation: int) -> Shaped[np.ndarray, "A B C"]:
    """Pixels upright, by the number of an orientation tag (TIFF 6.0, p. 36); 1 and unknown numbers are upright."""
    upright = {
        2: lambda: values[:, ::-1],
        3: lambda: values[::-1, ::-1],
        4: lambda: values[::-1],
        5: lambda: values.transpose(1, 0, 2),
        6: lambda: np.rot90(values, -1),
        7: lambda: np.rot90(values, 2).transpose(1, 0, 2),
        8: lambda: np.rot90(values),
    }.get(orientation)
    return values if upright is None else upright()


def to_bytes(values: Values, path: Path) -> Shaped[np.ndarray, "H W C"]:
    """Values of 16 bits as bytes: 65535 is 255.

    Raises:
        DataError: If the values are of another type, or use the lower half of the range alone, as those of 12 bits do.
    """
    if values.dtype != np.uint16:
        span = f" from {values.min():g} to {values.max():g}" if values.size and values.dtype.kind in "iuf" else ""
        raise DataError(f"{path}: pixels of type {values.dtype}{span}; {SAVE_AS_BYTES}")
    colours = values[:, :, : values.shape[2] - 1] if values.shape[2] in (2, 4) else values
    top = int(colours.max(initial=0))
    if top < UPPER_HALF:
        bits = max(1, top.bit_length())
        what = f"16 bits per channel, but no value above {top}, as of {bits} bits, and what is white is not stated"
        raise DataError(f"{path}: {what}; {SAVE_AS_BYTES} (of {bits} bits: value x 255 / {2**bits - 1})")
    note("images of 16 bits per channel, scaled to 8 bits: 65535 is read as 255")
    return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
