"""Classes of tissue: their areas, tumour and stroma, and lymphocytes near tumour epithelium."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool
from scipy.ndimage import distance_transform_edt

from histoseg.features.definition import Feature, Value
from histoseg.features.names import LYMPHOCYTE, STROMA, TUMOUR, find_classes
from histoseg.features.slide import NO_TISSUE, ObjectTable, Scope, TissueSquares

NEAR_UM = 500.0  # Hendry et al. 2017: the invasive margin is 1 mm wide, centred on the border of the tumour.
AREA = Feature(
    name="tissue_area_mm2",
    unit="mm²",
    meaning=(
        "Area of the squares of any class but background; for a class, of its squares. Squares that reach beyond the"
        " slide count in part. Without classes of tissue, the area of the tissue mask, or of the slide without a mask."
    ),
    level="slide and tissue class",
)
SHARE = Feature(
    name="tissue_share",
    unit="",
    meaning="Area of the class / area of all classes but background.",
    level="slide and tissue class",
)
TUMOUR_TO_STROMA = Feature(
    name="tumour_stroma_ratio",
    unit="",
    meaning="Area of abnormal epithelium / area of stroma. Abnormal epithelium is tumour, but dysplasia as well.",
    level="slide",
)
STROMA_SHARE = Feature(
    name="stroma_share_of_tumour_and_stroma",
    unit="",
    meaning=(
        "Area of stroma / area of stroma and abnormal epithelium. Pathologists estimate it in the field with most"
        " stroma; here it is that of the slide."
    ),
    level="slide",
    source="Mesker et al. 2007, Cell. Oncol. 29, 387-398",
)
NEAR_AREA = Feature(
    name="near_tumour_area_mm2",
    unit="mm²",
    meaning=(
        "Area of squares of other classes than abnormal epithelium and background whose middle lies at most"
        f" {NEAR_UM:g} µm from that of a square of abnormal epithelium."
    ),
    level="slide",
    source="Hendry et al. 2017, Adv. Anat. Pathol. 24, 311-335: outer half of the invasive margin",
)
NEAR_DENSITY = Feature(
    name="lymphocyte_density_near_tumour_per_mm2",
    unit="1/mm²",
    meaning="Lymphocytes in these squares / their area.",
    level="slide",
    source="Hendry et al. 2017, Adv. Anat. Pathol. 24, 311-335",
)
FEATURES = (AREA, SHARE, TUMOUR_TO_STROMA, STROMA_SHARE, NEAR_AREA, NEAR_DENSITY)


def measure_area(scope: Scope, whole_mm2: float) -> Iterator[Value]:
    """The area of a part of a slide, and of a class of tissue its share of all tissue."""
    yield AREA.value(scope.area_mm2, "", scope.suffix)
    if scope.label is not None:
        yield SHARE.value(scope.area_mm2 / (whole_mm2 or np.nan), "the slide has no tissue", scope.suffix)


def measure_tumour(tissue: TissueSquares | None, nuclei: ObjectTable | None) -> Iterator[Value]:
    """The features of tumour and stroma on a slide."""
    if tissue is None:
        yield from (each.absent(NO_TISSUE) for each in (TUMOUR_TO_STROMA, STROMA_SHARE, NEAR_AREA, NEAR_DENSITY))
        return
    tumour, stroma = (_area(tissue, names) for names in (TUMOUR, STROMA))
    unknown = next(
        (f"no class of tissue is called {names[0]}" for names in (TUMOUR, STROMA) if not _knows(tissue, names)), ""
    )
    yield TUMOUR_TO_STROMA.value(tumour / (stroma or np.nan), unknown or "no square of stroma")
    yield STROMA_SHARE.value(stroma / (tumour + stroma or np.nan), unknown or "no square of either class")
    yield from _measure_near(tissue, nuclei)


def _measure_near(tissue: TissueSquares, nuclei: ObjectTable | None) -> Iterator[Value]:
    near = near_tumour(tissue)
    area = float(tissue.areas_mm2[near].sum())
    is_known = _knows(tissue, TUMOUR)
    reason = (
        "no square of abnormal epithelium with others near it"
        if is_known
        else f"no class of tissue is called {TUMOUR[0]}"
    )
    yield NEAR_AREA.value(area if is_known else np.nan, reason)
    if nuclei is None or not nuclei.knows(LYMPHOCYTE):
        yield NEAR_DENSITY.absent(f"no class of nuclei is called {LYMPHOCYTE[0]}")
        return
    count = np.count_nonzero(near[tissue.rows_columns(nuclei.points_um[nuclei.are(LYMPHOCYTE)])])
    yield NEAR_DENSITY.value(count / (area or np.nan), reason)


def near_tumour(tissue: TissueSquares) -> Bool[np.ndarray, "R S"]:
    """The squares of tissue near abnormal epithelium, itself left out."""
    is_tumour = np.isin(tissue.squares, find_classes(tissue.classes, TUMOUR))
    if not is_tumour.any():
        return np.zeros(is_tumour.shape, bool)
    distances_um = distance_transform_edt(~is_tumour, sampling=tissue.side_um[::-1])
    return np.asarray(tissue.is_tissue & ~is_tumour & (distances_um <= NEAR_UM))


def _knows(tissue: TissueSquares, names: tuple[str, ...]) -> bool:
    return bool(find_classes(tissue.classes, names))


def _area(tissue: TissueSquares, names: tuple[str, ...]) -> float:
    """The area of the classes of these names; not a number if the map knows none."""
    found = find_classes(tissue.classes, names)
    return float(tissue.areas_mm2[np.isin(tissue.squares, found)].sum()) if found else np.nan
