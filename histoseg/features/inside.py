"""What lies inside of what: nuclei in glands and in lumina, lumina in glands."""

from dataclasses import dataclass

import numpy as np
import shapely
from jaxtyping import Bool, Float64, Int32

from histoseg.features.slide import Points, Shapes

NOWHERE = -1


@dataclass(frozen=True, kw_only=True)
class Inside:
    """Where nuclei and lumina lie, as positions in the table of glands; NOWHERE outside of all.

    Attributes:
        gland_of_nucleus: The gland that a nucleus' centroid lies in.
        is_in_lumen: Whether a nucleus' centroid lies in a lumen.
        gland_of_lumen: The gland that a lumen shares most area with.
        shared_um2: The area that they share.
    """

    gland_of_nucleus: Int32[np.ndarray, " N"]
    is_in_lumen: Bool[np.ndarray, " N"]
    gland_of_lumen: Int32[np.ndarray, " L"]
    shared_um2: Float64[np.ndarray, " L"]

    @property
    def is_in_epithelium(self) -> Bool[np.ndarray, " N"]:
        """Which nuclei lie in a gland but in no lumen."""
        return np.asarray((self.gland_of_nucleus != NOWHERE) & ~self.is_in_lumen)


def find_inside(glands: Shapes, lumina: Shapes, nuclei: Points) -> Inside:
    """Where nuclei and lumina lie."""
    points = shapely.STRtree(shapely.points(nuclei))
    gland_of_lumen, shared = _share_most(glands, lumina)
    return Inside(
        gland_of_nucleus=_owners(points, glands, len(nuclei)),
        is_in_lumen=_owners(points, lumina, len(nuclei)) != NOWHERE,
        gland_of_lumen=gland_of_lumen,
        shared_um2=shared,
    )


def _owners(points: shapely.STRtree, shapes: Shapes, count: int) -> Int32[np.ndarray, " N"]:
    """The first of the shapes that each point lies in or on."""
    owners = np.full(count, NOWHERE, np.int32)
    owner, point = points.query(shapes, predicate="intersects")
    owners[point[::-1]] = owner[::-1]  # The last value assigned to a place stays, so this keeps the first shape.
    return owners


def _share_most(glands: Shapes, lumina: Shapes) -> tuple[Int32[np.ndarray, " L"], Float64[np.ndarray, " L"]]:
    """The gland that each lumen shares most area with, and that area."""
    owners, shared = np.full(len(lumina), NOWHERE, np.int32), np.zeros(len(lumina))
    lumen, gland = shapely.STRtree(glands).query(lumina, predicate="intersects")
    areas = shapely.area(shapely.intersection(lumina[lumen], glands[gland]))
    order = np.lexsort((-gland, areas))  # The largest comes last and stays; of equals, the first gland.
    order = order[areas[order] > 0]
    owners[lumen[order]], shared[lumen[order]] = gland[order], areas[order]
    return owners, shared
