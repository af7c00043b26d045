"""Who drew an object: the model, if the annotator left it as it was, else a hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from histoseg.files.regions import Region, paint
from histoseg.types import InstanceMap

DrawnBy = Literal["model", "hand"]


@dataclass(frozen=True, kw_only=True)
class Origins:
    """Who drew the objects of a region.

    Attributes:
        drawn_by: Of each corrected object.
        changed: Of those by hand, how many lie where the model found something.
        added: How many lie elsewhere.
        removed: How many objects of the model are gone, with nothing in their place.
    """

    drawn_by: tuple[DrawnBy, ...]
    changed: int
    added: int
    removed: int


def origins_of(corrected: InstanceMap, classes: Sequence[str], predicted: Sequence[Region]) -> Origins:
    """Compare a map of corrected objects with what the model found.

    An object is the model's if it covers the very pixels that one of the model's covers and has its class. Programs
    rewrite outlines (their first corner, their direction), and identities stay when an outline is edited, so neither
    tells. Object i + 1 of the corrected map has the i-th of the classes; those of the model have names of classes.
    """
    found = paint(predicted, (corrected.shape[0], corrected.shape[1])).instance_map
    pairs, counts = np.unique(np.stack([corrected.ravel(), found.ravel()]), axis=1, return_counts=True)
    sizes = np.bincount(corrected.ravel(), minlength=len(classes) + 1)
    found_sizes = np.bincount(found.ravel(), minlength=len(predicted) + 1)
    overlapping: dict[int, int] = {}
    same, touched = set[int](), set[int]()
    for (mine, theirs), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
        if mine and theirs:
            overlapping[mine] = overlapping.get(mine, 0) + count
            touched.add(theirs)
            is_same = count == sizes[mine] == found_sizes[theirs]
            if is_same and classes[mine - 1] == predicted[theirs - 1].class_name:
                same.add(mine)
    drawn_by: list[DrawnBy] = ["model" if i in same else "hand" for i in range(1, len(classes) + 1)]
    changed = sum(i in overlapping and i not in same for i in range(1, len(classes) + 1))
    return Origins(
        drawn_by=tuple(drawn_by),
        changed=changed,
        added=len(classes) - len(same) - changed,
        removed=int(sum(found_sizes[i] > 0 and i not in touched for i in range(1, len(predicted) + 1))),
    )
