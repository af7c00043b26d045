"""What each gland has around it: the next gland, and the surface of the tissue."""

from collections.abc import Iterator

import numpy as np
import shapely
from jaxtyping import Float64
from scipy.ndimage import binary_dilation

from histoseg.features.contents import Column, divide
from histoseg.features.definition import Feature
from histoseg.features.slide import Shapes, TissueSquares

FIRST_LIMIT_UM = 4.0
STEP_UM = 5.0  # Between points of a border: much less than a square of tissue, 72 µm with Cerberus
NEAREST = Feature(
    name="nearest_gland_distance_um",
    unit="µm",
    meaning="Shortest distance between the outline of the gland and that of another; 0 if they touch.",
    level="gland",
)
SURFACE = Feature(
    name="surface_share",
    unit="",
    meaning=(
        "Share of the outer border at the surface of the tissue: of points along it, those in a square of background or"
        " in one that shares a side or corner with such a square. As coarse as the squares. Glands of the surface have"
        " more than those in the depth."
    ),
    level="gland",
    source="Graham et al. 2023, Cerberus, Sec. 5, proposes to tell glands of the surface epithelium apart; ours",
)
FEATURES = (NEAREST, SURFACE)


def nearest_column(glands: Shapes) -> Iterator[Column]:
    """The distance from each gland to the next; not a number for a single gland."""
    yield NEAREST, NEAREST.name, nearest_distances(glands)


def nearest_distances(shapes: Shapes) -> Float64[np.ndarray, " N"]:
    """The distance from each shape to the nearest other one; not a number if there is no other.

    Distances between outlines of hundreds of corners are slow, comparing them with a limit is not: so the limit is
    doubled until a shape has others within it, and only their distances are computed.
    """
    found = np.full(len(shapes), np.nan)
    waiting, tree = np.arange(len(shapes) if len(shapes) > 1 else 0), shapely.STRtree(shapes)
    limit_um = FIRST_LIMIT_UM
    while len(waiting):
        one, other = tree.query(shapes[waiting], predicate="dwithin", distance=limit_um)
        one = waiting[one]
        one, other = one[one != other], other[one != other]
        near = np.full(len(shapes), np.inf)
        np.minimum.at(near, one, shapely.distance(shapes[one], shapes[other]))
        found[one] = near[one]
        waiting, limit_um = waiting[np.isnan(found[waiting])], 2 * limit_um
    return found


def surface_column(glands: Shapes, tissue: TissueSquares) -> Iterator[Column]:
    """The share of each gland's border at the surface."""
    pieces, owners = shapely.get_parts(glands, return_index=True)
    rings = shapely.segmentize(shapely.get_exterior_ring(pieces), STEP_UM)
    corners, ring_of = shapely.get_coordinates(rings, return_index=True)
    is_side = ring_of[1:] == ring_of[:-1]
    middles = ((corners[1:] + corners[:-1]) / 2)[is_side]
    lengths = np.hypot(*(corners[1:] - corners[:-1])[is_side].T)
    owners = owners[ring_of[1:][is_side]]
    at_surface = _near_background(tissue)[tissue.rows_columns(middles)]
    whole, part = (np.bincount(owners, weights, len(glands)) for weights in (lengths, lengths * at_surface))
    yield SURFACE, SURFACE.name, divide(part.astype(np.float64), whole.astype(np.float64))


def _near_background(tissue: TissueSquares) -> Float64[np.ndarray, "R S"]:
    """1 for squares of background and their eight neighbours, 0 for others."""
    return np.asarray(binary_dilation(~tissue.is_tissue, np.ones((3, 3))).astype(np.float64))
