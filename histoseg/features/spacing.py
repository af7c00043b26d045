"""How far nuclei are from each other: the distance from those of one type to the nearest of another."""

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float32
from scipy.spatial import KDTree

from histoseg.features.definition import Feature, Value
from histoseg.features.names import ALL
from histoseg.features.slide import ObjectTable, Scope

DISTANCE = Feature(
    name="{structure}_{class}_to_{other}_nearest_um_median",
    unit="µm",
    meaning=(
        "Median over nuclei of the class of the distance of their centroid to that of the nearest nucleus of the other"
        " class; of the same class, to the nearest other one. The neighbour may lie anywhere on the slide. 'all' with"
        " nuclei without a class."
    ),
    level="slide and tissue class",
)
FEATURES = (DISTANCE,)
Distances = Mapping[tuple[str, str], Float32[np.ndarray, " N"]]


def nearest_distances(table: ObjectTable) -> Distances:
    """For each two classes, the distance from each object of the first to the nearest of the second.

    It is infinite where there is none. The pair `all`, `all` takes no notice of classes.
    """
    groups = {word: table.points_um[table.kinds == kind] for kind, word in enumerate(table.words)}
    found = {(ALL, ALL): _to_nearest(table.points_um, KDTree(table.points_um), is_same=True)}
    for other, targets in groups.items():
        tree = KDTree(targets)
        for word, points in groups.items():
            found[word, other] = _to_nearest(points, tree, is_same=word == other)
    return found


def _to_nearest(points: np.ndarray, tree: KDTree, *, is_same: bool) -> Float32[np.ndarray, " N"]:
    rank = 2 if is_same else 1  # The nearest of all is the nucleus itself.
    if tree.n < rank or not len(points):
        return np.full(len(points), np.inf, np.float32)
    return np.asarray(tree.query(points, [rank])[0][:, 0], np.float32)


def measure_spacing(structure: str, table: ObjectTable, distances: Distances, scope: Scope) -> Iterator[Value]:
    """The median of each pair of classes in a part of a slide."""
    held = scope.holds(table.points_um)
    of_class = {ALL: held} | {word: held[table.kinds == kind] for kind, word in enumerate(table.words)}
    for (word, other), found in distances.items():
        chosen = found[of_class[word]]
        chosen = chosen[np.isfinite(chosen)]
        reason = f"{scope.phrase}: no {structure} of class {word}, or none of {other} to be near to"
        median = float(np.median(chosen)) if len(chosen) else np.nan
        yield DISTANCE.value(median, reason, scope.suffix, structure=structure, other=other, **{"class": word})
