"""Which page of a file with several is the image: one rule for all formats.

The largest page is the image, if every other is at most half as wide and half as high: thumbnails, labels and levels of
a pyramid are; or if its file calls it a small copy, as Aperio's do with a picture of the whole slide. Three grey pages
of one size that the file calls channels are red, green and blue. Anything else, such as a z-stack or a time series, is
refused. So is one page alone that its file calls a small copy of another image, or the first of a stack: ImageJ lists
one page for all slices of a large stack.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image as PillowImage

from histoseg.errors import DataError
from histoseg.files.notes import note

MAX_NAMED = 8  # More sizes than this make a message hard to read.
DESCRIPTION, SUBFILE_TYPE = 270, 254  # TIFF tags; the lowest bit of the second says that a page is a small copy.
CHANNELS = re.compile(r'\bchannels=3\b|\bSizeC="3"')  # As ImageJ and OME state it in a TIFF's description
STACK = re.compile(r"ImageJ=.*?^images=(\d+)", re.DOTALL | re.MULTILINE)


def pages_of_image(image: PillowImage.Image, path: Path) -> list[int]:
    """The page to read; or, in this order, those of red, green and blue. The image is opened and not loaded.

    Raises:
        DataError: If the file does not say which of its pages is the image; the text has their sizes.
    """
    count = getattr(image, "n_frames", 1)
    tags = getattr(image, "tag_v2", {})
    description = str(tags.get(DESCRIPTION, ""))
    if count == 1:
        if part := _say_part(int(tags.get(SUBFILE_TYPE, 0)), description):
            raise DataError(f"{path}: its only page is {part}, as the file says; save the image alone")
        return [0]
    sizes, modes, copies = zip(*(_look(image, page) for page in range(count)), strict=True)
    image.seek(0)
    largest = max(range(count), key=lambda page: (not copies[page], sizes[page][0] * sizes[page][1]))
    width, height = sizes[largest]
    others = [sizes[page] for page in range(count) if page != largest and not copies[page]]
    if not copies[largest] and all(2 * w <= width and 2 * h <= height for w, h in others):
        note(
            "pages left out beside the image, which is the largest: thumbnails, labels or levels of a pyramid",
            count - 1,
        )
        return [largest]
    if len(set(sizes)) == 1 and count == 3 and set(modes) <= {"L", "I;16", "I;16B"} and CHANNELS.search(description):
        note("images of three grey pages, which the file calls channels: read as red, green and blue")
        return [0, 1, 2]
    raise DataError(
        f"{path}: {count} pages of {_list(sizes)} pixels, and which is the image is not stated; save it alone"
    )


def _say_part(subfile_type: int, description: str) -> str:
    """What the only page of a file is a part of, as the file says; empty if it is whole."""
    if subfile_type & 1:
        return "a small copy of another image"
    slices = STACK.match(description)
    return f"the first of {slices[1]} slices" if slices and int(slices[1]) > 1 else ""


def _look(image: PillowImage.Image, page: int) -> tuple[tuple[int, int], str, bool]:
    """Size and mode of a page, and whether its file calls it a small copy of another one."""
    image.seek(page)
    return image.size, image.mode, bool(getattr(image, "tag_v2", {}).get(SUBFILE_TYPE, 0) & 1)


def _list(sizes: Sequence[tuple[int, int]]) -> str:
    named = ", ".join(f"{width} x {height}" for width, height in sizes[:MAX_NAMED])
    return named + (f" and {len(sizes) - MAX_NAMED} more" if len(sizes) > MAX_NAMED else "")
