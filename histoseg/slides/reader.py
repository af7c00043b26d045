"""Slides: regions at any resolution, whatever the file format, its pyramid, and where the file is.

    with open_slide("s3://bucket/cases/one.svs") as slide:
        height, width = slide.size_at(0.5)
        region = slide.read(0, 0, 1024, 1024, mpp=0.5)

A region is read from the coarsest level that is at least as fine as asked for. Where that level is within 2.5 % of it
(`histoseg.types.MPP_TOLERANCE`) its pixels are taken as they are; else they are averaged, or interpolated where nothing
is fine enough (`histoseg.slides.rescale`). Several threads may read one slide: each block of the file is decoded by one
of them, and kept for all while there is room.
"""

from collections.abc import Mapping
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, runtime_checkable

from histoseg.errors import ConfigError, DataError
from histoseg.files.notes import collect
from histoseg.files.resolution import settle_mpp
from histoseg.slides import openslide_reader, tiff_reader
from histoseg.slides.levels import BlockSource
from histoseg.slides.openslide_reader import OpenSlideReader
from histoseg.slides.plain import PlainReader
from histoseg.slides.pyramid import About, PyramidSlide
from histoseg.slides.spans import REMOTE, LocalCopy, LocalFile, StoredObject, locate
from histoseg.types import Image, is_credible_mpp, say_credible_mpp

CACHE_BYTES = 512 * 2**20  # Decoded blocks: three rows of tiles at the full resolution of a slide 100,000 pixels wide
WITH_COMPANIONS = (".mrxs", ".vms", ".vmu", ".dcm")  # Endings of formats that are several files


@runtime_checkable
class Slide(Protocol):
    """A slide that is open. Sizes are height, then width.

    Attributes:
        name: The file's name without its ending.
        address: Where it is, as given.
        size_px: Its size in base pixels.
        mpp: Microns per base pixel.
        notes: What reading leaves out or changes, and how often, as `histoseg.files.notes` has it.
    """

    name: str
    address: str
    size_px: tuple[int, int]
    mpp: float
    notes: Mapping[str, int]

    def size_at(self, mpp: float) -> tuple[int, int]:
        """The slide's size at a resolution."""

    def scale_at(self, mpp: float) -> float:
        """Base pixels along the side of a pixel of that resolution: x and y times this are base pixels."""

    def mpp_at(self, mpp: float) -> float:
        """The true microns per pixel of what `read` gives for that resolution, which may be 2.5 % off."""

    def read(self, top: int, left: int, height: int, width: int, mpp: float) -> Image:
        """A region, whose box is in pixels of that resolution and lies within the slide.

        It is bit by bit that part of the whole slide at that resolution, whatever else is read.

        Raises:
            DataError: If that part of the file is damaged.
            ValueError: If the box is empty or leaves the slide.
        """

    def read_thumbnail(self, max_px: int) -> Image:
        """The whole slide, its longer side of at most so many pixels; never enlarged."""

    def close(self) -> None:
        """Release the file, and what was copied or kept for it."""

    def __enter__(self) -> "Slide": ...

    def __exit__(self, *_: object) -> None: ...


def open_slide(
    address: str | Path,
    mpp: float | None = None,
    *,
    cache_bytes: int = CACHE_BYTES,
    readers: Executor | None = None,
) -> Slide:
    """The slide at a path or an s3:// address; `mpp` states its microns per base pixel if the file does not.

    A tiled TIFF in a bucket is read by parts, other formats from a temporary copy. Where `readers` are processes, they
    read images without a pyramid: a fault in a library then ends one of them, and not this process.

    Raises:
        BrokenProcessPool: If the process of a reader ends.
        ConfigError: If `mpp` is not a slide's resolution, or the address is not one.
        DataError: If it is not there or damaged, has no resolution and none was given, or contradicts the one given.
        StorageError: If a copy that is needed finds no room.
    """
    where = str(address)
    if mpp is not None and not is_credible_mpp(mpp):
        raise ConfigError(f"--mpp {mpp:g}: must be {say_credible_mpp()}")
    with ExitStack() as opened, collect() as notes:
        is_remote = where.startswith(REMOTE)
        source = _open_object(where, opened, readers) if is_remote else _open_file(Path(where), where, readers)
        opened.callback(source.close)
        settled = settle_mpp(where, mpp, source.stored_mpp)
        name = Path(where.removeprefix(REMOTE)).stem
        about = About(name=name, address=where, mpp=settled, notes=dict(sorted(notes.items())))
        return PyramidSlide(source, about, opened.pop_all().close, cache_bytes)


def _open_file(path: Path, address: str, readers: Executor | None) -> BlockSource:
    with ExitStack() as opened:
        file = LocalFile(path)
        opened.callback(file.close)
        vendor = openslide_reader.vendor_of(path)
        if vendor in ("", openslide_reader.APERIO) and tiff_reader.is_tiff(file):
            reader = tiff_reader.open_tiff(file, address)
            if reader is not None and not (vendor and reader.has_gaps):
                opened.pop_all()
                return reader
    return OpenSlideReader(path, address) if vendor else PlainReader(path, readers)


def _open_object(address: str, opened: ExitStack, readers: Executor | None) -> BlockSource:
    """The slide of an object, in place or from a copy, which `opened` removes."""
    store, key = locate(address)
    if key.lower().endswith(WITH_COMPANIONS):
        raise DataError(f"{address}: this format has further files beside this one; copy them to a local folder")
    stored = StoredObject(store, key)
    if tiff_reader.is_tiff(stored):
        reader = tiff_reader.open_tiff(stored, address)
        if reader is not None and not reader.has_gaps:
            return reader
    copy = LocalCopy(store, key, stored.size)
    opened.callback(copy.close)
    try:
        return _open_file(copy.path, address, readers)
    except DataError as error:  # Those of `histoseg.files` name the copy.
        raise DataError(str(error).replace(str(copy.path), address)) from error
