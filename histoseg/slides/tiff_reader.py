"""Tiled TIFF, read tile by tile: SVS, OME-TIFF and other pyramids, whose tiles are as any TIFF has them.

Which page is the image is decided as for other images (`histoseg.files.pages`). Its levels are the smaller copies below
it (SubIFDs), and the tiled pages beside it that have its proportions.

Codecs fill what is missing of a JPEG or JPEG 2000 tile and say nothing, so each must have its end. Bytes changed within
one are noticed where its decoder cannot go on.
"""

import io
import logging
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tifffile

from histoseg.errors import DataError
from histoseg.files.images import over_white
from histoseg.files.pages import Page, choose_pages
from histoseg.files.resolution import stated_mpp
from histoseg.slides.levels import WHITE, Block, Level, find_scale
from histoseg.slides.spans import Spans, SpansFile

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# TIFF's numbers of compressions. Of Aperio's YCbCr, tifffile gives the values as they are.
JPEG, APERIO_YCBCR, APERIO_RGB, JPEG_2000 = 7, 33003, 33005, 34712
END, END_WITHIN = b"\xff\xd9", 64  # The last marker of JPEG and JPEG 2000; a writer may fill up what follows.
ORIENTATION, RESOLUTION_UNIT = 274, 296  # Tags
X_RESOLUTION, Y_RESOLUTION = 282, 283
CENTIMETRE = 3  # A resolution unit; 2 is the inch, also where none is stated.
HEADER_BYTES = 2**16  # Read at once while pages are listed
OVERLAPPING = "MedScan"  # The software of Trestle's scanners, whose tiles overlap
CHANNELS = {"RGB": (3, 4), "YCBCR": (3,), "MINISBLACK": (1,)}

# What it logs of damaged headers is in our errors.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def is_tiff(spans: Spans) -> bool:
    """Whether a file begins as a TIFF does."""
    return spans.read_at(0, 4) in MAGIC


@dataclass(frozen=True, kw_only=True)
class Plane:
    """A grid of tiles: all channels of a level, or one of them."""

    offsets: Sequence[int]
    num_bytes: Sequence[int]  # 0 for a tile that is not stored
    decode: Callable[[bytes, int], np.ndarray]  # Of a tile's bytes and its number: height, width, channels
    has_end: bool  # Whether its tiles end with END
    columns: int
    first: int  # The number of its first tile; those of several channels may stand in one list.

    def locate(self, row: int, column: int) -> int:
        """The number of a tile."""
        return self.first + row * self.columns + column


class TiffReader:
    """The tiles of a TIFF, decoded by imagecodecs."""

    def __init__(self, spans: Spans, address: str, found: Sequence[Sequence[tifffile.TiffPage]]) -> None:
        self._spans, self._address = spans, address
        self._planes = [[plane for page in pages for plane in _planes(page)] for pages in found]
        self.levels = [_level(pages[0], found[0][0]) for pages in found]
        self.stored_mpp = _stated_mpp(found[0][0])
        self._require_whole()

    @property
    def has_gaps(self) -> bool:
        """Whether a level beyond the base lacks tiles, which scanners' own readers fill from finer ones."""
        return any(0 in plane.num_bytes for planes in self._planes[1:] for plane in planes)

    def read_block(self, level: int, row: int, column: int) -> Block:
        about = self.levels[level]
        height = min(about.block_height, about.height - row * about.block_height)
        width = min(about.block_width, about.width - column * about.block_width)
        parts = [self._read_tile(plane, row, column, level) for plane in self._planes[level]]
        if any(part is None for part in parts):
            return np.full((height, width, 3), WHITE, np.uint8)
        values = np.dstack(parts)[:height, :width]  # type: ignore[arg-type]  # None was excluded above.
        colours = np.ascontiguousarray(values[:, :, :3] if values.shape[2] > 2 else values[:, :, [0, 0, 0]])
        return colours if values.shape[2] < 4 else over_white(colours, values[:, :, 3])

    def close(self) -> None:
        self._spans.close()

    def _read_tile(self, plane: Plane, row: int, column: int, level: int) -> np.ndarray | None:
        number = plane.locate(row, column)
        if plane.num_bytes[number] == 0:
            return None
        body = self._spans.read_at(plane.offsets[number], plane.num_bytes[number])
        try:
            if plane.has_end and END not in body[-END_WITHIN:]:
                raise ValueError("its end is missing")
            return plane.decode(body, number)
        except Exception as error:  # Damaged data makes codecs raise anything.
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            where = f"the tile at row {row}, column {column} of level {level}"
            raise DataError(f"{self._address}: {where} cannot be decoded ({reason}); fetch the file again") from error

    def _require_whole(self) -> None:
        """Refuse a file that ends before its last tile, or has fewer tiles than its size needs."""
        for number, (level, planes) in enumerate(zip(self.levels, self._planes, strict=True)):
            needed = -(-level.height // level.block_height) * -(-level.width // level.block_width)
            for plane in planes:
                found = min(len(plane.offsets), len(plane.num_bytes)) - plane.first
                if found < needed:
                    what = f"level {number} has {found} tiles, and its size needs {needed}"
                    raise DataError(f"{self._address}: {what}; fetch the file again")
                end = int(np.add(plane.offsets, plane.num_bytes, dtype=np.int64).max(initial=0))
                if end > self._spans.size:
                    what = f"its pixels end at byte {end} of {self._spans.size}"
                    raise DataError(f"{self._address}: {what}; fetch the file again")


def open_tiff(spans: Spans, address: str) -> TiffReader | None:
    """The reader of a TIFF; None if it needs the reader of a scanner's format, or has no tiles of plain colours.

    Raises:
        DataError: If the file is damaged, or does not say which of its pages is the image.
    """
    try:
        with tifffile.TiffFile(io.BufferedReader(SpansFile(spans), HEADER_BYTES), name=address) as file:
            pages = [page.aspage() for page in file.pages]
            if not pages:
                raise DataError(f"{address}: it ends before its first page; fetch the file again")
            _require_last(file, pages[-1], address)
            if file.is_ndpi or file.is_philips or file.is_scn or file.is_bif:
                return None
            if str(pages[0].software).startswith(OVERLAPPING) or not _has_plain_tiles(_largest(pages)):
                return None
            return TiffReader(spans, address, _find_levels(pages, address))
    except DataError:
        raise
    except Exception as error:  # Damaged headers make it raise anything.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{address}: not a readable TIFF ({reason}); fetch the file again") from error


def _require_last(file: tifffile.TiffFile, page: tifffile.TiffPage, address: str) -> None:
    """Refuse a file of which a further page is announced that is not there."""
    form = file.tiff
    file.filehandle.seek(page.offset)
    (num_tags,) = struct.unpack(form.tagnoformat, file.filehandle.read(form.tagnosize))
    file.filehandle.seek(page.offset + form.tagnosize + num_tags * form.tagsize)
    (following,) = struct.unpack(form.offsetformat, file.filehandle.read(form.offsetsize))
    if following:
        what = f"page {page.index + 2} should begin at byte {following} of {file.filehandle.size}, and is not there"
        raise DataError(f"{address}: {what}; fetch the file again")


def _largest(pages: Sequence[tifffile.TiffPage]) -> tifffile.TiffPage:
    return max(pages, key=lambda page: (not page.is_reduced, page.imagelength * page.imagewidth))


def _has_plain_tiles(page: tifffile.TiffPage) -> bool:
    """Whether a page has tiles of bytes that are colours or greys as they are, upright."""
    model = tifffile.PHOTOMETRIC(page.photometric).name
    is_jpeg = page.compression == JPEG
    return (
        page.is_tiled
        and page.imagedepth == 1
        and page.dtype == np.uint8
        and page.samplesperpixel in CHANNELS.get(model, ())
        and (model != "YCBCR" or is_jpeg)
        and page.compression != APERIO_YCBCR
        and page.tags.valueof(ORIENTATION, 1) == 1
    )


def _find_levels(pages: Sequence[tifffile.TiffPage], address: str) -> list[list[tifffile.TiffPage]]:
    """The pages of each level, the base first; in each, the page of all channels or those of red, green and blue."""
    looks = [_look(page, has_tiles=_largest(pages).is_tiled) for page in pages]
    chosen = choose_pages(looks, str(pages[0].description), address)
    base = [pages[i] for i in chosen]
    below = [[copy.aspage() for copy in page.pages or ()] for page in base]
    copies = [list(level) for level in zip(*below, strict=True)]
    if len(chosen) == 1:
        copies += [[page] for i, page in enumerate(pages) if i not in chosen]
    smaller = [level for level in copies if all(map(_has_plain_tiles, level)) and _is_copy(level[0], base[0])]
    return [base, *sorted(smaller, key=lambda level: -level[0].imagewidth)]


def _look(page: tifffile.TiffPage, *, has_tiles: bool) -> Page:
    """A page for the choice of the image; beside an image in tiles, those without are thumbnails and labels."""
    is_grey, is_copy = page.samplesperpixel == 1, bool(page.is_reduced or (has_tiles and not page.is_tiled))
    return Page(width=page.imagewidth, height=page.imagelength, is_grey=is_grey, is_copy=is_copy)


def _is_copy(page: tifffile.TiffPage, base: tifffile.TiffPage) -> bool:
    """Whether a page has the base's proportions, up to a pixel, and is smaller."""
    wide, high = base.imagewidth / page.imagewidth, base.imagelength / page.imagelength
    rounding = 1 / min(page.imagewidth, page.imagelength)
    return bool(wide > 1 and abs(wide / high - 1) <= 2 * rounding and page.samplesperpixel == base.samplesperpixel)


def _planes(page: tifffile.TiffPage) -> list[Plane]:
    columns, rows = -(-page.imagewidth // page.tilewidth), -(-page.imagelength // page.tilelength)
    are_apart = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and page.samplesperpixel > 1
    tables, header, decode = page.jpegtables, page.jpegheader, page.decode

    def decode_tile(body: bytes, number: int) -> np.ndarray:
        decoded, _, _ = decode(body, number, jpegtables=tables, jpegheader=header)
        if decoded is None:
            raise ValueError("no pixels")
        return np.asarray(decoded[0])

    return [
        Plane(
            offsets=page.dataoffsets,
            num_bytes=page.databytecounts,
            decode=decode_tile,
            has_end=page.compression in (JPEG, APERIO_RGB, JPEG_2000),
            columns=columns,
            first=number * rows * columns,
        )
        for number in range(page.samplesperpixel if are_apart else 1)
    ]


def _level(page: tifffile.TiffPage, base: tifffile.TiffPage) -> Level:
    size, full = (page.imagelength, page.imagewidth), (base.imagelength, base.imagewidth)
    return Level(
        height=size[0],
        width=size[1],
        scale=find_scale(full, size),
        block_height=page.tilelength,
        block_width=page.tilewidth,
    )


def _stated_mpp(page: tifffile.TiffPage) -> float | None:
    """Microns per pixel by the page's description, or that of the file, and its resolution."""
    first = page.parent.pages.first
    tags = {tag.code: _plain(tag.value) for tag in page.tags if tag.code in (X_RESOLUTION, Y_RESOLUTION)}
    inch = 2.54 if page.tags.valueof(RESOLUTION_UNIT, 2) == CENTIMETRE else 1.0
    dots = [(density * inch if (density := tags.get(code)) else 0.0) for code in (X_RESOLUTION, Y_RESOLUTION)]
    return stated_mpp([str(page.description), str(first.description)], tags, (dots[0], dots[1]))


def _plain(value: object) -> float:
    """A rational number of a tag; 0 for anything else."""
    match value:
        case (int(above), int(below)) if below:
            return above / below
        case _:
            return 0.0
