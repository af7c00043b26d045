"""Made-up slides of any size: mucosa on glass, made of a few different squares, so that every object is known.

A slide is a grid of squares. Each is glass or one of a few fields of mucosa (`histoseg.demo.mucosa.draw_field`), whose
objects lie whole within it. A square's tiles are encoded once, and their bytes written as often as it occurs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Int32, UInt8

from histoseg.demo import drawing, mucosa, pyramid
from histoseg.demo.pyramid import TILE_PX
from histoseg.structures import MPP
from histoseg.types import Image, InstanceMap

FIELD_UM = 256.0  # The side of a square, rounded to whole tiles
NUM_FIELDS = 4  # Different ones on a slide
TISSUE_SHARE = 0.6  # Of the squares; the rest is glass
STRUCTURES = {"gland": "glands", "lumen": "lumina", "nuclei": "nuclei"}
KEPT_TILES = 2048  # Encoded tiles of the smaller levels that are kept to be written again: some 40 MB

Layout = Int32[np.ndarray, "R C"]
Kinds = tuple[tuple[int, ...], ...]  # Rows of squares


@dataclass(frozen=True, kw_only=True)
class DrawnSlide:
    """What a made-up slide shows.

    Attributes:
        layout: What each square of `square_px` base pixels shows, from the upper left corner of the slide: 0 for glass,
            i for the i-th of the fields. What lies to the right of the last square or below it is glass.
        fields: The different fields of mucosa, with their objects, in base pixels.
    """

    height: int
    width: int
    mpp: float
    square_px: int
    layout: Layout
    fields: tuple[mucosa.Mucosa, ...]

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """How many objects of each structure there are: gland, lumen, nuclei."""
        times = np.bincount(self.layout.ravel(), minlength=len(self.fields) + 1)[1:].tolist()
        return {
            name: sum(n * _count(field, name) for n, field in zip(times, self.fields, strict=True))
            for name in STRUCTURES
        }

    @property
    def tissue(self) -> Bool[np.ndarray, "R C"]:
        """Which squares show mucosa."""
        return self.layout > 0

    def instance_map(self, structure: str) -> InstanceMap:
        """The object that each base pixel belongs to, numbered from 1; for slides that fit into memory."""
        whole, last = np.zeros((self.height, self.width), np.int32), 0
        for (row, column), kind in np.ndenumerate(self.layout):
            if kind:
                here = _objects(self.fields[kind - 1], structure)
                top, left = row * self.square_px, column * self.square_px
                square = whole[top : top + self.square_px, left : left + self.square_px]
                square[:] = np.where(here, here + last, 0)
                last = int(max(last, square.max()))
        return whole


def write_slide(
    path: Path, *, width: int, height: int, mpp: float = 0.5, seed: int = 0, density: float = 1.0
) -> DrawnSlide:
    """Write a tiled pyramidal TIFF in the layout of Aperio's SVS, and return what it shows.

    `density` multiplies the cells between the glands. The slide must be at least one tile of 256 pixels wide and high.
    """
    if min(width, height) < TILE_PX:
        raise ValueError(f"a slide of {width} x {height} pixels; at least {TILE_PX} x {TILE_PX} are needed")
    drawn = draw_slide(width=width, height=height, mpp=mpp, seed=seed, density=density)
    levels = pyramid.plan_levels(height, width)
    tiles = _Tiles(drawn, np.random.default_rng([seed, 1]))
    longest = max(height, width)
    least = next(level.downsample for level in levels if longest // level.downsample <= 2 * pyramid.THUMBNAIL_PX)
    # Not larger than half the slide, so that nothing takes it for the slide
    thumbnail = _shrink_to(tiles.whole(least), min(pyramid.THUMBNAIL_PX, longest // 2))
    pyramid.write_pyramid(path, levels, lambda number: tiles.encoded(levels[number]), thumbnail, mpp)
    return drawn


def draw_slide(*, width: int, height: int, mpp: float, seed: int, density: float) -> DrawnSlide:
    """The squares of a slide, and which lies where; nothing is written."""
    rng = np.random.default_rng([seed, 0])
    square = TILE_PX * max(1, min(round(FIELD_UM / mpp / TILE_PX), min(width, height) // TILE_PX))
    rows, columns = height // square, width // square
    stain = drawing.draw_stain(rng)
    shows_tissue = _spread(rows, columns, rng)
    num_fields = min(NUM_FIELDS, int(shows_tissue.sum()))
    layout = np.where(shows_tissue, rng.integers(1, num_fields + 1, (rows, columns)), 0).astype(np.int32)
    fields = tuple(_draw_square(square, mpp, stain, rng, density) for _ in range(num_fields))
    return DrawnSlide(height=height, width=width, mpp=mpp, square_px=square, layout=layout, fields=fields)


def _spread(rows: int, columns: int, rng: np.random.Generator) -> Bool[np.ndarray, "R C"]:
    """Squares with tissue: one irregular piece about the middle, of TISSUE_SHARE of them and at least one."""
    y, x = np.mgrid[:rows, :columns]
    distance = np.hypot((y + 0.5) / rows - 0.5, (x + 0.5) / columns - 0.5)
    rough = distance * (1 + 0.15 * drawing.noise((rows, columns), max(2.0, max(rows, columns) / 4), rng))
    count = max(1, round(TISSUE_SHARE * rows * columns))
    return np.asarray(rough <= np.sort(rough, axis=None)[count - 1])


def _draw_square(
    square: int, mpp: float, stain: drawing.Stain, rng: np.random.Generator, density: float
) -> mucosa.Mucosa:
    """A field as drawn at 0.5 microns per pixel, resampled to the slide's resolution."""
    drawn_px = max(2, round(square * mpp / MPP))
    field = mucosa.draw_field((drawn_px, drawn_px), stain, rng, density=density)
    smooth = cv2.INTER_CUBIC if square > drawn_px else cv2.INTER_AREA
    rows = ((np.arange(square) + 0.5) * drawn_px / square).astype(int)
    return mucosa.Mucosa(
        image=np.asarray(cv2.resize(field.image, (square, square), interpolation=smooth)),
        glands=_take(field.glands, rows),
        lumina=_take(field.lumina, rows),
        nuclei=_take(field.nuclei, rows),
    )


def _take(objects: mucosa.Objects, rows: np.ndarray) -> mucosa.Objects:
    """The nearest pixels, with the objects numbered without gaps."""
    instance_map = objects.instance_map[np.ix_(rows, rows)]
    renumbered = np.unique(np.append(instance_map.ravel(), 0), return_inverse=True)[1]  # 0 stays 0, the smallest.
    return mucosa.Objects(
        instance_map=renumbered[:-1].reshape(instance_map.shape).astype(np.int32),
        semantic_map=objects.semantic_map[np.ix_(rows, rows)],
    )


def _objects(field: mucosa.Mucosa, structure: str) -> InstanceMap:
    objects: mucosa.Objects = getattr(field, STRUCTURES[structure])
    return objects.instance_map


def _count(field: mucosa.Mucosa, structure: str) -> int:
    return int(_objects(field, structure).max(initial=0))


class _Tiles:
    """The tiles of a slide's levels, encoded; equal ones are encoded once."""

    def __init__(self, drawn: DrawnSlide, rng: np.random.Generator) -> None:
        self._drawn = drawn
        side = drawn.square_px
        bright = 240 + rng.normal(0, 1.5, (side, side, 3))
        glass = bright.round().clip(0, 255).astype(np.uint8)
        self._squares = [glass, *(field.image for field in drawn.fields)]
        self._encode = lru_cache(maxsize=KEPT_TILES)(self._encode_one)
        self._small = lru_cache(maxsize=None)(self._shrink_squares)

    def encoded(self, level: pyramid.Level) -> Iterator[bytes]:
        """The tiles of a level, row by row."""
        rows, columns = level.tiles
        for row in range(rows):
            for column in range(columns):
                yield self._tile(row * TILE_PX, column * TILE_PX, level.downsample)

    def whole(self, downsample: int) -> Image:
        """The slide, that many times smaller."""
        height, width = self._drawn.height // downsample, self._drawn.width // downsample
        return self._show(self._kinds(0, 0, height, width, downsample), downsample)[:height, :width]

    def _tile(self, top: int, left: int, downsample: int) -> bytes:
        side = self._drawn.square_px // downsample
        kinds = self._kinds(top, left, top + TILE_PX, left + TILE_PX, downsample)
        return self._encode(kinds, top % side, left % side, downsample)

    def _kinds(self, top: int, left: int, bottom: int, right: int, downsample: int) -> Kinds:
        """What the squares show that a box of a level meets."""
        side = self._drawn.square_px // downsample
        rows, columns = range(top // side, -(-bottom // side)), range(left // side, -(-right // side))
        return tuple(tuple(self._kind(row, column) for column in columns) for row in rows)

    def _kind(self, row: int, column: int) -> int:
        layout = self._drawn.layout
        return int(layout[row, column]) if row < layout.shape[0] and column < layout.shape[1] else 0

    def _encode_one(self, kinds: Kinds, top: int, left: int, downsample: int) -> bytes:
        image = self._show(kinds, downsample)[top : top + TILE_PX, left : left + TILE_PX]
        return pyramid.encode_tile(np.ascontiguousarray(image))

    def _show(self, kinds: Kinds, downsample: int) -> Image:
        small = self._small(downsample)
        return np.vstack([np.hstack([small[kind] for kind in row]) for row in kinds])

    def _shrink_squares(self, downsample: int) -> list[Image]:
        side = self._drawn.square_px // downsample
        return [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in self._squares]


def _shrink_to(image: Image, longest: int) -> UInt8[np.ndarray, "P Q 3"]:
    factor = min(1.0, longest / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
