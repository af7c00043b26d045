"""What each gland contains: lumina, nuclei of each type, lymphocytes in its epithelium.

Nuclei count where their centroid lies. The epithelium of a gland is what is not lumen.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64, Int32, Shaped

from histoseg.features.definition import Feature
from histoseg.features.inside import NOWHERE, Inside
from histoseg.features.names import ALL, EPITHELIAL, LYMPHOCYTE
from histoseg.features.slide import UM2_PER_MM2, ObjectTable

KINDS = "Graham et al. 2023, Cerberus, Sec. 5, names this kind of feature"

LUMINA = Feature(
    name="lumen_count",
    unit="",
    meaning="Lumina in the gland; a lumen belongs to the gland with which it shares most area.",
    level="gland",
    is_count=True,
)
LUMEN_SHARE = Feature(
    name="lumen_share",
    unit="",
    meaning="Area of its lumina, as far as they lie in the gland, / area of the gland.",
    level="gland",
)
NUCLEI = Feature(
    name="nuclei_{class}_count",
    unit="",
    meaning="Nuclei in the gland, in its lumina too; 'all' with those without a class.",
    level="gland",
    is_count=True,
)
IN_LUMEN = Feature(
    name="nuclei_in_lumen_count",
    unit="",
    meaning="Nuclei in lumina of the gland.",
    level="gland",
    is_count=True,
)
DENSITY = Feature(
    name="epithelium_nuclei_density_per_mm2",
    unit="1/mm²",
    meaning="Nuclei of any class in the epithelium of the gland / area of this epithelium.",
    level="gland",
)
LYMPHOCYTES = Feature(
    name="intraepithelial_lymphocyte_count",
    unit="",
    meaning="Lymphocytes in the epithelium of the gland.",
    level="gland",
    source=KINDS,
    is_count=True,
)
LYMPHOCYTES_PER_100 = Feature(
    name="intraepithelial_lymphocytes_per_100_epithelial_nuclei",
    unit="",
    meaning="100 x lymphocytes in the epithelium of the gland / epithelial nuclei there.",
    level="gland",
    source="Hayat et al. 2002, J. Clin. Pathol. 55, 393-394, counts intraepithelial lymphocytes so",
)
OF_LUMINA = (LUMINA, LUMEN_SHARE)
OF_NUCLEI = (NUCLEI, DENSITY)
OF_TYPES = (LYMPHOCYTES, LYMPHOCYTES_PER_100)
FEATURES = (*OF_LUMINA, *OF_NUCLEI, IN_LUMEN, *OF_TYPES)

Column = tuple[Feature, str, Float64[np.ndarray, " G"]]  # A feature, its column, and the value of each gland


def lumen_columns(areas_um2: Float64[np.ndarray, " G"], inside: Inside) -> Iterator[Column]:
    """Lumina of each gland."""
    yield LUMINA, LUMINA.name, _count(inside.gland_of_lumen, len(areas_um2))
    yield LUMEN_SHARE, LUMEN_SHARE.name, _lumen_areas(areas_um2, inside) / areas_um2


def nucleus_columns(
    areas_um2: Float64[np.ndarray, " G"], nuclei: ObjectTable, inside: Inside, *, has_lumina: bool
) -> Iterator[Column]:
    """Nuclei of each gland; what needs lumina or certain classes only where the model finds them."""
    count = len(areas_um2)
    for name, chosen in _by_class(nuclei):
        yield NUCLEI, NUCLEI.name.format(**{"class": name}), _count(inside.gland_of_nucleus[chosen], count)
    owner = np.where(inside.is_in_epithelium, inside.gland_of_nucleus, np.int32(NOWHERE))
    epithelium = areas_um2 - _lumen_areas(areas_um2, inside)
    yield DENSITY, DENSITY.name, divide(_count(owner, count), epithelium / UM2_PER_MM2)
    if has_lumina:
        yield IN_LUMEN, IN_LUMEN.name, _count(inside.gland_of_nucleus[inside.is_in_lumen], count)
    if not nuclei.knows(LYMPHOCYTE):
        return
    lymphocytes = _count(owner[nuclei.are(LYMPHOCYTE)], count)
    yield LYMPHOCYTES, LYMPHOCYTES.name, lymphocytes
    if nuclei.knows(EPITHELIAL):
        epithelial = _count(owner[nuclei.are(EPITHELIAL)], count)
        yield LYMPHOCYTES_PER_100, LYMPHOCYTES_PER_100.name, divide(100 * lymphocytes, epithelial)


def _by_class(nuclei: ObjectTable) -> Iterator[tuple[str, Shaped[np.ndarray, " _"] | slice]]:
    yield ALL, slice(None)
    for kind, word in enumerate(nuclei.words):
        yield word, nuclei.kinds == kind


def _count(owners: Int32[np.ndarray, " N"], count: int) -> Float64[np.ndarray, " G"]:
    return np.bincount(owners[owners != NOWHERE], minlength=count).astype(np.float64)


def _lumen_areas(areas_um2: Float64[np.ndarray, " G"], inside: Inside) -> Float64[np.ndarray, " G"]:
    has_gland = inside.gland_of_lumen != NOWHERE
    owners = inside.gland_of_lumen[has_gland]
    return np.bincount(owners, inside.shared_um2[has_gland], len(areas_um2)).astype(np.float64)


def divide(dividends: Float64[np.ndarray, " N"], divisors: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    """Quotients; not a number where the divisor is not above 0."""
    quotients = np.full(len(divisors), np.nan)
    np.divide(dividends, divisors, out=quotients, where=divisors > 0)
    return quotients
