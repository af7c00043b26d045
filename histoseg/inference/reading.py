"""An image to be segmented, with its resolution and what was noted while it was read."""

from collections.abc import Mapping
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from histoseg.errors import DataError
from histoseg.files.images import read_image
from histoseg.files.notes import collect
from histoseg.files.resolution import find_mpp
from histoseg.shards.pool import DIED
from histoseg.types import Image


@dataclass(frozen=True, kw_only=True)
class ReadImage:
    """An image, its microns per pixel, and what reading it left out or changed, and how often."""

    pixels: Image
    mpp: float
    notes: Mapping[str, int]


def read(path: Path, given_mpp: float | None) -> ReadImage:
    """The image of a file, at the resolution that was given or that the file states."""
    with collect() as notes:
        mpp = find_mpp(path, given_mpp)
        notes.clear()  # The same page is chosen once more, and noted, when the pixels are read.
        return ReadImage(pixels=read_image(path), mpp=mpp, notes=dict(sorted(notes.items())))


def read_apart(path: Path, given_mpp: float | None, readers: Executor) -> ReadImage:
    """As `read`, in another process: a fault in a library there ends that process, and costs this image alone."""
    try:
        return readers.submit(read, path, given_mpp).result()
    except BrokenProcessPool as error:
        raise DataError(f"{path}: reading it {DIED}; fetch the file again") from error
