"""The shape of each gland.

Outlines run along pixels' edges, so their own length is that of a staircase: 4/pi times that of a circle, however fine
the pixels. `perimeter_um` is the length of the outline with its corners cut.
"""

import numpy as np
import shapely
from jaxtyping import Float64, Int64

from histoseg.features.definition import Feature
from histoseg.features.slide import Shapes

CORNER_UM = 1.5  # Three pixels of 0.5 microns: discs and turned rectangles are then measured to 1.2 % (tests).
MOMENTS = "the ellipse with the same second moments as the gland"

AREA = Feature(name="area_um2", unit="µm²", meaning="Area within the outline, lumina included.", level="gland")
PERIMETER = Feature(
    name="perimeter_um",
    unit="µm",
    meaning=(
        "Length of the outer outline after each corner is cut off: along each of its two sides by half of the side, at"
        f" most {CORNER_UM:g} µm. This undoes the staircase of pixels."
    ),
    level="gland",
)
DIAMETER = Feature(
    name="equivalent_diameter_um",
    unit="µm",
    meaning="Diameter of the disc of the same area: 2 sqrt(area / pi).",
    level="gland",
)
MAJOR = Feature(name="major_axis_um", unit="µm", meaning=f"Longer axis of {MOMENTS}.", level="gland")
MINOR = Feature(name="minor_axis_um", unit="µm", meaning=f"Shorter axis of {MOMENTS}.", level="gland")
ECCENTRICITY = Feature(
    name="eccentricity",
    unit="",
    meaning=f"Of {MOMENTS}: sqrt(1 - (minor axis / major axis)²); 0 for a disc, near 1 for a thread.",
    level="gland",
)
ELONGATION = Feature(
    name="elongation", unit="", meaning="Major axis / minor axis; 1 for a disc, larger for longer ones.", level="gland"
)
SOLIDITY = Feature(
    name="solidity", unit="", meaning="Area / area of the convex hull; 1 without indentations.", level="gland"
)
CIRCULARITY = Feature(
    name="circularity",
    unit="",
    meaning="4 pi area / perimeter²; about 1 for a disc, lower for irregular outlines. Holes are filled for it.",
    level="gland",
    source="Cox 1927, J. Paleontology 1, 179-183",
)
FEATURES = (AREA, PERIMETER, DIAMETER, MAJOR, MINOR, ECCENTRICITY, ELONGATION, SOLIDITY, CIRCULARITY)


def shape_columns(glands: Shapes) -> dict[Feature, Float64[np.ndarray, " N"]]:
    """The features of each gland."""
    areas, perimeters = shapely.area(glands), outline_lengths(glands, CORNER_UM)
    filled = _sum_by(*_outer_areas(glands), len(glands))
    major, minor = ellipse_axes(glands)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            AREA: areas,
            PERIMETER: perimeters,
            DIAMETER: 2 * np.sqrt(areas / np.pi),
            MAJOR: major,
            MINOR: minor,
            ECCENTRICITY: np.sqrt(np.clip(1 - (minor / major) ** 2, 0, 1)),
            ELONGATION: major / minor,
            SOLIDITY: areas / shapely.area(shapely.convex_hull(glands)),
            CIRCULARITY: 4 * np.pi * filled / perimeters**2,
        }


def outline_lengths(shapes: Shapes, corner_um: float) -> Float64[np.ndarray, " N"]:
    """The length of each shape's outer rings after each corner is cut off, at most so far along each of its sides."""
    rings, owners = _outer_rings(shapes)
    corners, ring_of = shapely.get_coordinates(rings, return_index=True)
    is_side = ring_of[1:] == ring_of[:-1]  # A ring repeats its first corner at its end.
    sides = (corners[1:] - corners[:-1])[is_side]
    ring_of = ring_of[1:][is_side]
    lengths = np.hypot(*sides.T)
    cuts = np.minimum(lengths / 2, corner_um)
    ends = sides * np.divide(cuts, lengths, out=np.zeros_like(cuts), where=lengths > 0)[:, None]
    cut_corners = np.hypot(*(ends[_before(ring_of)] + ends).T)
    return _sum_by(lengths - 2 * cuts + cut_corners, owners[ring_of], len(shapes))


def _before(ring_of: Int64[np.ndarray, " E"]) -> Int64[np.ndarray, " E"]:
    """For each side the one before it in the same ring; the sides of a ring follow each other."""
    before = np.arange(-1, len(ring_of) - 1)
    if len(ring_of):
        firsts = np.flatnonzero(np.diff(ring_of, prepend=-1))
        before[firsts] = np.append(firsts[1:], len(ring_of)) - 1
    return before


def ellipse_axes(shapes: Shapes) -> tuple[Float64[np.ndarray, " N"], Float64[np.ndarray, " N"]]:
    """The axes of the ellipse with the same second moments as each shape, the longer first.

    Moments of a polygon are sums over its sides by Green's theorem (Steger 1996, On the calculation of arbitrary
    moments of polygons, FGBV-96-05).
    """
    count = len(shapes)
    rings, owner = shapely.get_rings(shapely.orient_polygons(_pieces(shapes)[0]), return_index=True)
    owner = _pieces(shapes)[1][owner]
    corners, ring_of = shapely.get_coordinates(rings, return_index=True)
    corners = corners - shapely.get_coordinates(shapely.centroid(shapes))[owner[ring_of]]
    is_side = ring_of[1:] == ring_of[:-1]
    (x, y), (next_x, next_y) = corners[:-1][is_side].T, corners[1:][is_side].T
    of_side = owner[ring_of[1:][is_side]]
    doubled = x * next_y - next_x * y
    area = _sum_by(doubled / 2, of_side, count)
    xx = _sum_by((x * x + x * next_x + next_x * next_x) * doubled / 12, of_side, count) / area
    yy = _sum_by((y * y + y * next_y + next_y * next_y) * doubled / 12, of_side, count) / area
    xy = _sum_by((x * next_y + 2 * x * y + 2 * next_x * next_y + next_x * y) * doubled / 24, of_side, count) / area
    middle, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    return 4 * np.sqrt(middle + spread), 4 * np.sqrt(np.maximum(middle - spread, 0))


def _pieces(shapes: Shapes) -> tuple[Shapes, Int64[np.ndarray, " P"]]:
    """The polygons of all shapes, and the shape that each is of."""
    pieces, owners = shapely.get_parts(shapes, return_index=True)
    return pieces, owners


def _outer_rings(shapes: Shapes) -> tuple[Shapes, Int64[np.ndarray, " P"]]:
    pieces, owners = _pieces(shapes)
    return shapely.get_exterior_ring(pieces), owners


def _outer_areas(shapes: Shapes) -> tuple[Float64[np.ndarray, " P"], Int64[np.ndarray, " P"]]:
    rings, owners = _outer_rings(shapes)
    return shapely.area(shapely.polygons(rings)), owners


def _sum_by(
    values: Float64[np.ndarray, " P"], owners: Int64[np.ndarray, " P"], count: int
) -> Float64[np.ndarray, " N"]:
    return np.bincount(owners, values, count).astype(np.float64)
