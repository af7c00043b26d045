"""Whether a file can hold the pixels that its header claims, and this machine can: asked before anything is decoded."""

import math
import re
from pathlib import Path

from PIL import Image as PillowImage

from histoseg.errors import DataError
from histoseg.machine import available_memory

HARMLESS_BYTES = 2**26  # What any machine can spare: decoders refuse smaller damaged files by themselves.
# Bytes of pixels for each stored byte, at most, by Pillow's decoder or libtiff's compression. Others have no limit, as
# those that store a page of one colour in a few bytes.
MOST_PER_BYTE = {
    "raw": 1,
    "zip": 1032,  # deflate, as in PNG (zlib's technical details)
    "tiff_adobe_deflate": 1032,
    "tiff_deflate": 1032,
    "jpeg": 3 * 512,  # One bit at least for each block of 8 x 8 pixels (ITU-T T.81, F.1.2)
    "gif": 2731,  # LZW: 12 bits for at most 4096 bytes
    "tiff_lzw": 2731,
    "packbits": 64,  # Two bytes for at most 128
}
BYTES_PER_PIXEL = 12  # While RGB is decoded: 4 in Pillow, 4 converted, 3 as an array, and some for the decoder.


def raw_modes(image: PillowImage.Image) -> list[str]:
    """How each part of an image that is opened and not loaded is stored, as Pillow calls it: RGB;16B, P;4, ..."""
    arguments = [tile[3] for tile in getattr(image, "tile", ())]
    return [str(each[0] if isinstance(each, tuple) and each else each) for each in arguments]


def require_credible(image: PillowImage.Image, path: Path) -> None:
    """Refuse an image, opened and not loaded, of more pixels than the file can hold or the memory has room for."""
    claimed, stored = image.width * image.height * _bits(image) // 8, path.stat().st_size
    most = max((MOST_PER_BYTE.get(codec, math.inf) for codec in _codecs(image)), default=math.inf)
    if claimed > stored * most and (most == 1 or claimed > HARMLESS_BYTES):
        what = f"its header claims {image.width} x {image.height} pixels, which its {stored} bytes cannot hold"
        raise DataError(f"{path}: not a readable image ({what}); fetch the file again")
    needed, free = image.width * image.height * BYTES_PER_PIXEL, None
    if needed > HARMLESS_BYTES:
        free = available_memory()
    if free is not None and needed > free:
        have = f"{needed / 1e9:.1f} GB of memory to read, and {free / 1e9:.1f} GB are free"
        remedy = "cut the image into regions, or use a machine with more memory"
        raise DataError(f"{path}: {image.width} x {image.height} pixels take {have}; {remedy}")


def _codecs(image: PillowImage.Image) -> set[str]:
    """The decoders of Pillow that an image needs; of libtiff's, the compression."""
    names = {str(tile[0]) for tile in getattr(image, "tile", ())}
    return {str(image.info.get("compression")) if name == "libtiff" else name for name in names}


def _bits(image: PillowImage.Image) -> int:
    """Bits of a pixel as stored, or fewer: 1, 4 or 16 where the file packs pixels so, else 8 for each channel."""
    packed = re.search(r";(\d+)", next(iter(raw_modes(image)), ""))
    if packed:
        return int(packed[1])
    return 1 if image.mode == "1" else 8 * len(image.getbands())
