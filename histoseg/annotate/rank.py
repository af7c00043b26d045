"""Which regions are annotated next."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np


def ranked(scores: Sequence[float]) -> list[int]:
    """The regions by score, the highest first; equal ones stay in their order."""
    return [int(i) for i in np.argsort(-np.asarray(scores, np.float64), kind="stable")]


def shuffled(count: int, rng: np.random.Generator) -> list[int]:
    """The numbers of `count` regions in a random order."""
    return [int(i) for i in rng.permutation(count)]


def take(
    order: Sequence[int], images: Sequence[Hashable], count: int, per_image: int = 0, earlier: Iterable[Hashable] = ()
) -> list[int]:
    """The first `count` regions of an order, at most `per_image` of each image as long as others have fewer.

    Regions of one image look alike, so the second of them teaches less (Settles 2009, Sec. 5.1, on batches).

    `images` names the image of each region, `earlier` that of each region of the rounds before, which count as well;
    without `per_image` an image gives any number.
    """
    if not per_image:
        return list(order)[:count]
    counts = Counter(earlier)
    turns: list[tuple[int, int]] = []
    for i in order:
        turns.append((counts[images[i]] // per_image, i))
        counts[images[i]] += 1
    return [i for _, i in sorted(turns, key=lambda turn: turn[0])][:count]
