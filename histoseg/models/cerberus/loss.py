"""Which features of a patch dropout leaves in the head for tissue."""

import numpy as np
from jaxtyping import Bool

from histoseg.models.cerberus.decoders import DROPOUT


def draw_kept(seeds: tuple[int, ...], num_features: int) -> Bool[np.ndarray, "B F"]:
    """Which features of each patch dropout leaves: by the patch's own stream, on whichever rank it is."""
    drawn = [np.random.default_rng([seed, 1]).random(num_features) >= DROPOUT for seed in seeds]
    return np.stack(drawn) if drawn else np.empty((0, num_features), bool)
