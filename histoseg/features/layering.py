"""How epithelial nuclei are layered in each gland: one row along the border, or several.

In normal glands epithelial nuclei stand in one row at the base; in dysplasia they are pseudostratified and reach the
upper part of the epithelium (WHO Classification of Tumours, Digestive System Tumours, 2019). The numbers below are
definitions of our own of this. They take the outer border of the gland as the base, and its nuclei's median diameter as
the unit, so that they depend on neither magnification nor the size of cells.
"""

from collections.abc import Iterator

import numpy as np
import shapely
from jaxtyping import Float64, Int32

from histoseg.features.contents import Column, divide
from histoseg.features.definition import Feature
from histoseg.features.inside import Inside
from histoseg.features.names import EPITHELIAL
from histoseg.features.slide import ObjectTable, Shapes

MIN_NUCLEI = 5  # Quartiles of fewer say nothing.
SECOND_ROW = 1.5  # A nucleus that touches the border has its centre at half a diameter, one behind it at 1.5.
DEPTH = "distance of an epithelial nucleus' centroid from the outer border of the gland, in median nuclear diameters"

DIAMETER = Feature(
    name="epithelial_nucleus_diameter_um",
    unit="µm",
    meaning=(
        "Median over epithelial nuclei in the epithelium of 2 sqrt(area / pi). This and the following features are"
        f" undefined for glands with fewer than {MIN_NUCLEI} such nuclei."
    ),
    level="gland",
)
DEPTH_MEDIAN = Feature(
    name="epithelial_depth_median_diameters",
    unit="nuclear diameters",
    meaning=f"Median of the depth: the {DEPTH}.",
    level="gland",
    source="Graham et al. 2023, Cerberus, Sec. 5, proposes intra-gland organisation of epithelial nuclei; ours",
)
DEPTH_SPREAD = Feature(
    name="epithelial_depth_iqr_diameters",
    unit="nuclear diameters",
    meaning="Third less first quartile of the depth.",
    level="gland",
)
STRATIFIED = Feature(
    name="stratified_share",
    unit="",
    meaning=(
        f"Share of epithelial nuclei whose depth is above {SECOND_ROW}: they cannot be of a row of nuclei that touch"
        " the border."
    ),
    level="gland",
)
ROWS = Feature(
    name="nuclear_rows",
    unit="",
    meaning=(
        "Epithelial nuclei in the epithelium x their median diameter / perimeter: how many rows they would fill if they"
        " stood side by side along the border. Above 1 they must be layered."
    ),
    level="gland",
)
FEATURES = (DIAMETER, DEPTH_MEDIAN, DEPTH_SPREAD, STRATIFIED, ROWS)


def layering_columns(
    glands: Shapes, perimeters_um: Float64[np.ndarray, " G"], nuclei: ObjectTable, inside: Inside
) -> Iterator[Column]:
    """The features of each gland; not a number for those with too few epithelial nuclei."""
    chosen = np.flatnonzero(inside.is_in_epithelium & nuclei.are(EPITHELIAL))
    owners = inside.gland_of_nucleus[chosen]
    order = np.argsort(owners, kind="stable")
    chosen, owners = chosen[order], owners[order]
    diameters = 2 * np.sqrt(nuclei.areas_um2[chosen] / np.pi)
    count = len(glands)
    unit = _quantile(diameters, owners, count, 0.5)
    depths = _distances(glands, nuclei.points_um[chosen], owners) / unit[owners]
    numbers = np.bincount(owners, minlength=count).astype(np.float64)
    quartiles = [_quantile(depths, owners, count, part) for part in (0.25, 0.5, 0.75)]
    deep = np.bincount(owners, depths > SECOND_ROW, count).astype(np.float64)
    columns = {
        DIAMETER: unit,
        DEPTH_MEDIAN: quartiles[1],
        DEPTH_SPREAD: quartiles[2] - quartiles[0],
        STRATIFIED: divide(deep, numbers),
        ROWS: numbers * unit / perimeters_um,
    }
    for feature, values in columns.items():
        yield feature, feature.name, np.where(numbers >= MIN_NUCLEI, values, np.nan)


def _distances(
    glands: Shapes, points_um: Float64[np.ndarray, "N 2"], owners: Int32[np.ndarray, " N"]
) -> Float64[np.ndarray, " N"]:
    """How far each point lies from the outer border of its gland."""
    pieces, gland_of = shapely.get_parts(glands, return_index=True)
    rings = shapely.get_exterior_ring(pieces)
    firsts = np.searchsorted(gland_of, np.arange(len(glands) + 1))
    borders = rings[firsts[:-1]].copy() if len(rings) else rings
    for i in np.flatnonzero(np.diff(firsts) > 1):
        borders[i] = shapely.multilinestrings(rings[firsts[i] : firsts[i + 1]])
    return np.asarray(shapely.distance(borders[owners], shapely.points(points_um)))


def _quantile(
    values: Float64[np.ndarray, " N"], owners: Int32[np.ndarray, " N"], count: int, part: float
) -> Float64[np.ndarray, " G"]:
    """A quantile of the values of each owner, interpolated as np.quantile does; not a number without values."""
    order = np.lexsort((values, owners))
    numbers = np.bincount(owners, minlength=count)
    firsts = np.cumsum(numbers) - numbers
    found = np.full(count, np.nan)
    some = numbers > 0
    place = firsts[some] + (numbers[some] - 1) * part
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, firsts[some] + numbers[some] - 1)
    ordered = values[order]
    found[some] = ordered[low] + (ordered[high] - ordered[low]) * (place - low)
    return found
