"""Which regions are annotated next."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64

from histoseg.annotate.cover import representatives


def ranked(scores: Sequence[float]) -> list[int]:
    """The regions by score, the highest first; equal ones stay in their order."""
    return [int(i) for i in np.argsort(-np.asarray(scores, np.float64), kind="stable")]


def shuffled(count: int, rng: np.random.Generator) -> list[int]:
    """The numbers of `count` regions in a random order."""
    return [int(i) for i in rng.permutation(count)]


@dataclass(frozen=True, kw_only=True)
class Looks:
    """What a model makes of all regions: how difficult each is, and features where some are to be representative."""

    difficulties: Float64[np.ndarray, " N"]
    features: Float32[np.ndarray, "N F"] | None = None


def in_order(looks: Looks | None, is_done: Bool[np.ndarray, " N"], count: int, rng: np.random.Generator) -> list[int]:
    """The regions that no round has, in the order in which they are taken.

    Without looks they are at random, without features the most difficult come first. With features, `count`
    representative ones do, and the others follow by difficulty.
    """
    left = np.flatnonzero(~is_done)
    if looks is None:
        return [int(left[i]) for i in shuffled(len(left), rng)]
    order = [int(left[i]) for i in ranked(looks.difficulties[left].tolist())]
    if looks.features is None:
        return order
    first = representatives(looks.difficulties, looks.features, count, np.flatnonzero(is_done).tolist())
    return [*first, *(i for i in order if i not in set(first))]


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
