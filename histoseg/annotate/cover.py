"""Regions that stand for what a model finds difficult: each for those that look like it to the model.

The most difficult regions are odd ones: crowded, torn, out of focus. Trained on them alone, a network gets worse at the
usual ones. So a region counts by the difficulty of all regions that it resembles (information density: Settles & Craven
2008, EMNLP; in histology Yang et al. 2017, Suggestive Annotation, MICCAI), and regions are chosen one after the other,
each for what those before it do not stand for (facility location: Wei, Iyer & Bilmes 2015, ICML).
"""

import heapq
from collections.abc import Collection

import numpy as np
from jaxtyping import Float32, Float64

from histoseg.models.network import Network
from histoseg.representation.patches import cut_patches, grid_centres
from histoseg.representation.pool import pooled
from histoseg.types import Image

TILE_PX, UNIT_PX = 256, 32  # Features are pooled over tiles, whose sides an encoder halves five times.
ROWS_AT_ONCE = 512  # Of similarities, of which a pool has the square of its regions


def region_features(network: Network, region: Image) -> Float32[np.ndarray, " F"]:
    """What an encoder says of a region as a whole: the mean over tiles of its pooled features.

    Raises:
        ConfigError: If the network has no encoder.
    """
    side_px = min(TILE_PX, -(-max(region.shape[:2]) // UNIT_PX) * UNIT_PX)
    tiles = cut_patches(region, grid_centres(region.shape[0], region.shape[1], side_px), side_px)
    return np.asarray(pooled(network, tiles).mean(axis=0))


def num_features(network: Network) -> int:
    """How many numbers `region_features` gives."""
    return int(pooled(network, np.zeros((0, UNIT_PX, UNIT_PX, 3), np.uint8)).shape[1])


def representatives(
    difficulties: Float64[np.ndarray, " N"],
    features: Float32[np.ndarray, "N F"],
    count: int,
    annotated: Collection[int] = (),
) -> list[int]:
    """The regions that stand for most of the pool's difficulty, in the order in which they are chosen.

    Chosen is the one that raises `sum_i difficulty_i * max_j similarity(i, j)` the most, over j of those chosen or
    annotated before; of equal ones the first. Similarity is the cosine of standardised features, 0 if it is negative.
    The sum is submodular, so this reaches at least 63 % of the best sum there can be (Nemhauser, Wolsey & Fisher 1978),
    and a region's gain never rises: only those that may still be the best are computed again (Minoux 1978).
    """
    if not len(features):
        return []
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
    directions = scaled / np.where(lengths > 0, lengths, 1)
    covered = np.zeros(len(features), np.float32)
    for i in annotated:
        np.maximum(covered, directions @ directions[i], out=covered)
    left = sorted(set(range(len(features))) - set(annotated))
    gains: list[tuple[float, int]] = []
    for start in range(0, len(left), ROWS_AT_ONCE):
        rows = left[start : start + ROWS_AT_ONCE]
        found = np.maximum(directions[rows] @ directions.T - covered, 0) @ difficulties
        gains += zip((-found).tolist(), rows, strict=True)
    heapq.heapify(gains)
    chosen: list[int] = []
    while gains and len(chosen) < count:
        _, i = gains[0]
        similar = directions @ directions[i]
        gain = float(np.maximum(similar - covered, 0) @ difficulties)
        heapq.heapreplace(gains, (-gain, i))
        if gains[0][1] == i:
            heapq.heappop(gains)
            chosen.append(i)
            np.maximum(covered, similar, out=covered)
    return chosen
