"""The features of glands over a slide: quartiles of each."""

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float64

from histoseg.features.definition import Feature, Value
from histoseg.features.slide import Points, Scope

GLAND = "gland"
QUARTILES = tuple(
    Feature(
        name=f"gland_{{feature}}_{name}",
        unit="that of the feature",
        meaning=f"{title} of the feature over the glands of the tissue for which it is defined.",
        level="slide and tissue class",
    )
    for name, title in (("q25", "First quartile"), ("median", "Median"), ("q75", "Third quartile"))
)
FEATURES = QUARTILES


def summarise_glands(
    columns: Mapping[str, Float64[np.ndarray, " G"]], points_um: Points, scope: Scope
) -> Iterator[Value]:
    """The quartiles of each column of glands in a part of a slide."""
    held = scope.holds(points_um)
    for name, values in columns.items():
        chosen = values[held]
        chosen = chosen[np.isfinite(chosen)]
        reason = f"{scope.phrase}: no gland with {name}"
        quartiles = np.quantile(chosen, (0.25, 0.5, 0.75)) if len(chosen) else np.full(3, np.nan)
        for feature, quartile in zip(QUARTILES, quartiles.tolist(), strict=True):
            yield feature.value(quartile, reason, scope.suffix, feature=name)
