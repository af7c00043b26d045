"""Where all objects of a slide are, without their outlines: to count those in a view and to draw their density.

Nine bytes an object: 45 MB for five million.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt16, UInt32

from histoseg.viewer.layers import Kind, number_kinds

if TYPE_CHECKING:
    from histoseg.slides.objects import ObjectFile

TILE_PX = 512  # Side of a tile on the screen, at any level
CELL_PX = 16  # Side of a cell of density on the screen: small enough for a picture, large enough for several nuclei
TILE_CELLS = TILE_PX // CELL_PX
LEAST_DIAMETER_PX = 3.0  # On the screen; of what is smaller, no colour can be told.
FEW_OBJECTS = 5_000  # So many outlines are drawn at any zoom.
COARSEST_LEVEL = 15  # A tile of 16 million base pixels: no slide is wider.
COLUMNS = ["structure", "class", "x", "y", "area_um2"]


@dataclass(frozen=True, kw_only=True)
class Density:
    """Numbers of objects in the cells of a grid over the slide.

    Attributes:
        level: Shrinkage 2^level at which a cell has CELL_PX on the screen.
        kinds: The numbers of the kinds that are counted, all of one structure.
    """

    level: int
    kinds: tuple[int, ...]
    counts: UInt32[np.ndarray, "K H W"]

    def at(self, level: int) -> UInt32[np.ndarray, "K h w"]:
        """The grid at a coarser level."""
        factor = 1 << (level - self.level)
        grown = [(0, 0), *((0, -size % factor) for size in self.counts.shape[1:])]
        padded = np.pad(self.counts, grown)
        num_kinds, height, width = padded.shape
        blocks = padded.reshape(num_kinds, height // factor, factor, width // factor, factor)
        return np.asarray(blocks.sum(axis=(2, 4), dtype=np.uint32))


@dataclass(frozen=True, kw_only=True)
class Census:
    """Place and kind of every object, and how each structure is drawn.

    Attributes:
        outline_levels: By structure, the coarsest level at which its outlines are drawn.
        diameters_px: By structure, that of its median object in base pixels; 0 if there is none.
        densities: By structure, what is drawn beyond that level.
    """

    x: Float32[np.ndarray, " N"]
    y: Float32[np.ndarray, " N"]
    kinds: UInt16[np.ndarray, " N"]
    num_kinds: int
    outline_levels: Mapping[str, int]
    diameters_px: Mapping[str, float]
    densities: Mapping[str, Density]

    def count(self, left: float, top: float, right: float, bottom: float) -> list[int]:
        """How many objects of each kind have their centroid in a box; left and top belong to it, the rest does not."""
        inside = (self.x >= left) & (self.x < right) & (self.y >= top) & (self.y < bottom)
        counts: list[int] = np.bincount(self.kinds[inside], minlength=self.num_kinds).tolist()
        return counts


def take_census(objects: "ObjectFile", kinds: tuple[Kind, ...], size_px: tuple[int, int], mpp: float) -> Census:
    """Read where all objects are; size_px is (width, height)."""
    table = objects.read(columns=COLUMNS)
    x, y, areas = (table.column(name).to_numpy() for name in ("x", "y", "area_um2"))
    numbers = number_kinds(table, kinds)
    levels, diameters, densities = dict[str, int](), dict[str, float](), dict[str, Density]()
    for structure in dict.fromkeys(kind.structure for kind in kinds):
        own = tuple(number for number, kind in enumerate(kinds) if kind.structure == structure)
        chosen = np.isin(numbers, own)
        diameters[structure] = _median_diameter(areas[chosen]) / mpp
        levels[structure] = outline_level(diameters[structure], int(chosen.sum()))
        if levels[structure] < COARSEST_LEVEL:
            level = levels[structure] + 1
            densities[structure] = _density(x[chosen], y[chosen], numbers[chosen], own, level, size_px)
    return Census(
        x=x,
        y=y,
        kinds=numbers,
        num_kinds=len(kinds),
        outline_levels=levels,
        diameters_px=diameters,
        densities=densities,
    )


def outline_level(diameter_px: float, count: int) -> int:
    """The coarsest level at which objects of a diameter still have LEAST_DIAMETER_PX; any level if there are few."""
    if count <= FEW_OBJECTS:
        return COARSEST_LEVEL
    return int(np.clip(np.floor(np.log2(max(diameter_px, 1e-6) / LEAST_DIAMETER_PX)), 0, COARSEST_LEVEL - 1))


def _median_diameter(areas: Float32[np.ndarray, " N"]) -> float:
    """Of the circle with the median area; 0 without objects."""
    return 2 * float(np.sqrt(np.median(areas) / np.pi)) if len(areas) else 0.0


def _density(
    x: Float32[np.ndarray, " N"],
    y: Float32[np.ndarray, " N"],
    numbers: UInt16[np.ndarray, " N"],
    kinds: tuple[int, ...],
    level: int,
    size_px: tuple[int, int],
) -> Density:
    cell = CELL_PX << level
    width, height = (-(-size // cell) for size in size_px)
    column = np.clip(x / cell, 0, width - 1).astype(np.int64)
    row = np.clip(y / cell, 0, height - 1).astype(np.int64)
    flat = ((numbers.astype(np.int64) - kinds[0]) * height + row) * width + column
    counts = np.bincount(flat, minlength=len(kinds) * height * width).reshape(len(kinds), height, width)
    return Density(level=level, kinds=kinds, counts=counts.astype(np.uint32))
