"""How large objects are: mean, standard deviation and quartiles of their areas."""

from collections.abc import Iterator

import numpy as np

from histoseg.features.definition import Feature, Value
from histoseg.features.names import ALL
from histoseg.features.slide import ObjectTable, Scope

MEAN = Feature(
    name="{structure}_{class}_area_um2_mean",
    unit="µm²",
    meaning="Mean area of the objects of the class; 'all' with those without a class.",
    level="slide and tissue class",
)
SPREAD = Feature(
    name="{structure}_{class}_area_um2_sd",
    unit="µm²",
    meaning="Standard deviation of these areas, with n - 1; for nuclei a measure of anisokaryosis.",
    level="slide and tissue class",
)
QUARTILES = tuple(
    Feature(
        name=f"{{structure}}_{{class}}_area_um2_{name}",
        unit="µm²",
        meaning=f"{title} of these areas.",
        level="slide and tissue class",
    )
    for name, title in (("q25", "First quartile"), ("median", "Median"), ("q75", "Third quartile"))
)
FEATURES = (MEAN, SPREAD, *QUARTILES)


def measure_sizes(structure: str, table: ObjectTable, scope: Scope) -> Iterator[Value]:
    """The features of a structure in a part of a slide."""
    held = scope.holds(table.points_um)
    kinds, areas = table.kinds[held], table.areas_um2[held]
    for kind, word in enumerate((ALL, *table.words), start=-1):
        chosen = areas if word == ALL else areas[kinds == kind]
        words = {"structure": structure, "class": word}
        nothing = f"{scope.phrase}: no {structure}" + ("" if word == ALL else f" of class {table.classes[kind]}")
        some = len(chosen) > 0
        yield MEAN.value(chosen.mean() if some else np.nan, nothing, scope.suffix, **words)
        spread = chosen.std(ddof=1) if len(chosen) > 1 else np.nan
        yield SPREAD.value(
            spread, f"{nothing}, or one" if not some else "one object has no spread", scope.suffix, **words
        )
        quartiles = np.quantile(chosen, (0.25, 0.5, 0.75)) if some else np.full(3, np.nan)
        for feature, quartile in zip(QUARTILES, quartiles, strict=True):
            yield feature.value(quartile, nothing, scope.suffix, **words)
