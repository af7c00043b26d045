"""How many objects there are: numbers, densities, proportions of classes, and the share of area that they cover.

An object lies where its centroid lies. Objects in squares of background do not count, as the area of these
squares does not.
"""

from collections.abc import Iterator

import numpy as np

from histoseg.features.definition import Feature, Value
from histoseg.features.names import ALL
from histoseg.features.slide import UM2_PER_MM2, ObjectTable, Scope

COUNT = Feature(
    name="{structure}_{class}_count",
    unit="",
    meaning="Objects of the class in the tissue; 'all' with those without a class.",
    level="slide and tissue class",
    is_count=True,
)
DENSITY = Feature(
    name="{structure}_{class}_density_per_mm2",
    unit="1/mm²",
    meaning="Objects of the class in the tissue / area of the tissue.",
    level="slide and tissue class",
)
SHARE = Feature(
    name="{structure}_{class}_share",
    unit="",
    meaning="Objects of the class / objects with a class, in the tissue.",
    level="slide and tissue class",
)
COVER = Feature(
    name="{structure}_area_fraction",
    unit="",
    meaning=(
        "Area of the objects in the tissue / area of the tissue. Objects are whole, so in a class of tissue that large"
        " objects reach beyond it may exceed 1."
    ),
    level="slide and tissue class",
)
FEATURES = (COUNT, DENSITY, SHARE, COVER)


def count_objects(structure: str, table: ObjectTable, scope: Scope) -> Iterator[Value]:
    """The features of a structure in a part of a slide."""
    held = scope.holds(table.points_um)
    kinds = table.kinds[held]
    area_mm2 = scope.area_mm2 or np.nan
    no_area, nothing = f"{scope.phrase}: no area", f"{scope.phrase}: no {structure} with a class"
    yield COUNT.value(len(kinds), "", scope.suffix, structure=structure, **{"class": ALL})
    yield DENSITY.value(len(kinds) / area_mm2, no_area, scope.suffix, structure=structure, **{"class": ALL})
    covered = float(table.areas_um2[held].sum()) / UM2_PER_MM2
    yield COVER.value(covered / area_mm2, no_area, scope.suffix, structure=structure)
    numbers = np.bincount(kinds[kinds >= 0], minlength=len(table.classes))
    for word, number in zip(table.words, numbers.tolist(), strict=True):
        words = {"structure": structure, "class": word}
        yield COUNT.value(number, "", scope.suffix, **words)
        yield DENSITY.value(number / area_mm2, no_area, scope.suffix, **words)
        yield SHARE.value(number / (int(numbers.sum()) or np.nan), nothing, scope.suffix, **words)
