"""Which regions are annotated next."""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np


def ranked(scores: Sequence[float]) -> list[int]:
    """The regions by score, the highest first; equal ones stay in their order."""
    return [int(i) for i in np.argsort(-np.asarray(scores, np.float64), kind="stable")]


def shuffled(count: int, rng: np.random.Generator) -> list[int]:
    """The numbers of `count` regions in a random order."""
    return [int(i) for i in rng.permutation(count)]


def take(order: Sequence[int], images: Sequence[Hashable], count: int, per_image: int = 0) -> list[int]:
    """The first `count` regions of an order, at most `per_image` of each image as long as others have some.

    Neighbours in one image look alike, so the second of them teaches less (Settles 2009, Sec. 5.1, on batches).

    `images` names the image of each region; without `per_image` one gives any number.
    """
    taken: list[int] = []
    passed: list[int] = []
    counts = Counter[Hashable]()
    for i in order:
        is_full = 0 < per_image <= counts[images[i]]
        (passed if is_full else taken).append(i)
        counts[images[i]] += not is_full
    return [*taken, *passed][:count]
