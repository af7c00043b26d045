"""Which page of a file with several is the image: one rule for all formats.

The largest page is the image, if every other is at most half as wide and half as high, rounded up: thumbnails, labels
and levels of a pyramid are; or if its file calls it a small copy, as Aperio's do with a picture of the whole slide.
Three grey pages of one size that the file calls channels are red, green and blue. Anything else, such as a z-stack or a
time series, is refused. So is one page alone that its file calls a small copy of another image, or the first of a
stack: ImageJ lists one page for all slices of a large stack.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as PillowImage

from histoseg.errors import DataError
from histoseg.files.notes import note

MAX_NAMED = 8  # More sizes than this make a message hard to read.
DESCRIPTION, SUBFILE_TYPE = 270, 254  # TIFF tags; the lowest bit of the second says that a page is a small copy.
CHANNELS = re.compile(r'\bchannels=3\b|\bSizeC="3"')  # As ImageJ and OME state it in a TIFF's description
GREY = ("L", "I;16", "I;16B")
LEFT_OUT = "pages left out beside the image, which is the largest: thumbnails, labels or levels of a pyramid"
STACK = re.compile(r"ImageJ=.*?^images=(\d+)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Page:
    """What decides whether a page is the image; `is_copy`: its file calls it a small copy of another one."""

    width: int
    height: int
    is_grey: bool
    is_copy: bool


def pages_of_image(image: PillowImage.Image, path: Path) -> list[int]:
    """The page to read; or, in this order, those of red, green and blue. The image is opened and not loaded.

    Raises:
        DataError: If the file does not say which of its pages is the image; the text has their sizes.
    """
    pages = [_look(image, page) for page in range(getattr(image, "n_frames", 1))]
    if len(pages) > 1:
        image.seek(0)
    chosen = choose_pages(pages, str(getattr(image, "tag_v2", {}).get(DESCRIPTION, "")), path)
    if len(chosen) == 1:
        note(LEFT_OUT, len(pages) - 1)
    return chosen


def choose_pages(pages: Sequence[Page], description: str, path: Path | str) -> list[int]:
    """The number of the page to read; or, in this order, those of red, green and blue.

    `description` is the first page's. Raises as `pages_of_image` does.
    """
    if len(pages) == 1:
        if part := _say_part(pages[0], description):
            raise DataError(f"{path}: its only page is {part}, as the file says; save the image alone")
        return [0]
    sizes = [(page.width, page.height) for page in pages]
    largest = max(range(len(pages)), key=lambda i: (not pages[i].is_copy, sizes[i][0] * sizes[i][1]))
    width, height = sizes[largest]
    others = [sizes[i] for i, page in enumerate(pages) if i != largest and not page.is_copy]
    if not pages[largest].is_copy and all(2 * w <= width + 1 and 2 * h <= height + 1 for w, h in others):
        return [largest]
    if (
        len(set(sizes)) == 1
        and len(pages) == 3
        and all(page.is_grey for page in pages)
        and CHANNELS.search(description)
    ):
        note("images of three grey pages, which the file calls channels: read as red, green and blue")
        return [0, 1, 2]
    raise DataError(
        f"{path}: {len(pages)} pages of {_list(sizes)} pixels, and which is the image is not stated; save it alone"
    )


def _say_part(page: Page, description: str) -> str:
    """What the only page of a file is a part of, as the file says; empty if it is whole."""
    if page.is_copy:
        return "a small copy of another image"
    slices = STACK.match(description)
    return f"the first of {slices[1]} slices" if slices and int(slices[1]) > 1 else ""


def _look(image: PillowImage.Image, page: int) -> Page:
    if image.tell() != page:
        image.seek(page)
    is_copy = bool(getattr(image, "tag_v2", {}).get(SUBFILE_TYPE, 0) & 1)
    return Page(width=image.width, height=image.height, is_grey=image.mode in GREY, is_copy=is_copy)


def _list(sizes: Sequence[tuple[int, int]]) -> str:
    named = ", ".join(f"{width} x {height}" for width, height in sizes[:MAX_NAMED])
    return named + (f" and {len(sizes) - MAX_NAMED} more" if len(sizes) > MAX_NAMED else "")
