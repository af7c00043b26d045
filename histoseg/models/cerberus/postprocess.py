"""Instance maps from what a decoder predicts: the published post-processing of Cerberus, in its two variants.

Decoders predict eroded objects, so that neighbours come apart; here objects get back what erosion took. Numbers are
those of `histoseg.structures`. Two variants belong to two kinds of target: with two classes (Cerberus), and with
contours as a third (Cerberus+).
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from histoseg.maps.eroded import CONTOUR, INNER
from histoseg.maps.evidence import Evidence
from histoseg.maps.separation import make_objects
from histoseg.structures import MPP, Flood, Growth, structure_of_objects
from histoseg.types import InstanceMap

CONTOUR_THRESHOLD = 0.5  # Published code


def separate(
    probabilities: Float32[np.ndarray, "C H W"], structure: str, contour: bool, mpp: float = MPP
) -> InstanceMap:
    """The objects of one structure, with ids from 1 on, none missing, in the order of their first predicted pixels.

    Where grown objects overlap, the later one covers the earlier, as in the published code. Unlike there, objects near
    the map's border grow as others do, and the id of an object that vanishes goes to the next one.

    Probabilities are those of background, inner and, with contours, contour, at `mpp` microns per pixel.

    Raises:
        ValueError: If the structure is not made of objects, or there are more or fewer channels.
    """
    rule = rule_of(structure, contour, mpp)
    num_channels = 3 if contour else 2
    if len(probabilities) != num_channels:
        raise ValueError(f"{len(probabilities)} channels; with contour = {contour} there are {num_channels}")
    inner = probabilities[INNER]
    mask = mask_of(torch.from_numpy(probabilities), rule).numpy()
    return make_objects(Evidence(mask=mask, inner=inner if isinstance(rule, Flood) else None), rule)


def rule_of(structure: str, contour: bool, mpp: float) -> Growth | Flood:
    """How objects of a structure are made, in pixels of `mpp` microns."""
    separation = structure_of_objects(structure).separation.at(mpp)
    return separation.with_contour if contour else separation.without_contour


def mask_of(probabilities: Float[Tensor, "C ..."], rule: Growth | Flood) -> Bool[Tensor, "..."]:
    """Where there is an eroded object, or an object where objects are flooded."""
    inner = probabilities[INNER]
    if isinstance(rule, Flood):
        return inner + probabilities[CONTOUR] > rule.mask_threshold
    if len(probabilities) == CONTOUR:
        return inner > rule.threshold
    return (inner > rule.threshold) & (probabilities[CONTOUR] <= CONTOUR_THRESHOLD)
