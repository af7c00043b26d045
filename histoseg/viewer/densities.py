"""The density of objects in one tile, as bytes that a browser reads as typed arrays.

    uint32  numbers of kinds, rows, columns; 0
    uint32  number of each kind
    uint32  how many objects of each kind are in each cell, row by row

The tile has a cell more on each side than it shows, so that a smoothed picture of it meets those beside it.
"""

import numpy as np

from histoseg.viewer.census import TILE_CELLS, Density


def pack_density(density: Density, level: int, column: int, row: int) -> bytes:
    """The cells of a tile at a level that is not finer than the density's."""
    grid = np.pad(density.at(level), ((0, 0), (1, 1), (1, 1)))
    num_kinds = len(grid)
    top, left = row * TILE_CELLS, column * TILE_CELLS
    cells = np.zeros((num_kinds, TILE_CELLS + 2, TILE_CELLS + 2), "<u4")
    part = grid[:, top : top + TILE_CELLS + 2, left : left + TILE_CELLS + 2]
    cells[:, : part.shape[1], : part.shape[2]] = part
    header = np.array([num_kinds, *cells.shape[1:], 0, *density.kinds], "<u4")
    return header.tobytes() + cells.tobytes()
