"""Pooled features of the patches about annotated objects, computed once for each set of images and kept in a store."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float32

from histoseg.distributed import sum_over_ranks
from histoseg.models.probe.network import Probe
from histoseg.models.tensors import device_of
from histoseg.representation.cache import FeatureSet, cached, digest_of_patches, encoder_digest
from histoseg.representation.patches import ObjectPatches, cut_patches
from histoseg.representation.pool import pooled
from histoseg.store.objects import Store
from histoseg.types import Place


def features_about(
    model: Probe, sets: Sequence[ObjectPatches], patch_px: int, store: Store, place: Place
) -> Float32[np.ndarray, "N F"]:
    """The features of all patches by the model's encoder, set by set and image by image; the store keeps each set's.

    All ranks call it for the same sets, and get the same.
    """
    digest = encoder_digest(model.encoder)
    found = [_of_set(model, patches, patch_px, store, place, digest) for patches in sets]
    return np.concatenate([_empty(model, 0), *found])


def _of_set(
    model: Probe, patches: ObjectPatches, patch_px: int, store: Store, place: Place, digest: str
) -> Float32[np.ndarray, "N F"]:
    wanted = FeatureSet(
        source=patches.source,
        index=patches.index,
        patches=digest_of_patches(patches.centres),
        encoder=digest,
        patch_px=patch_px,
        depths=model.parts.depths,
    )
    return cached(store, wanted, partial(_compute, model, patches, patch_px), place=place, device=device_of(model))


def _compute(model: Probe, patches: ObjectPatches, patch_px: int) -> Float32[np.ndarray, "N F"]:
    """Each rank does its share of the images, and all get all."""
    keys = list(patches.centres)
    ends = np.cumsum([len(points) for points in patches.centres.values()], dtype=np.int64)
    found = _empty(model, int(ends[-1]) if len(ends) else 0)
    for i in patches.share(len(keys)):
        points = patches.centres[keys[i]]
        cut = cut_patches(patches.read(keys[i]), points, patch_px)
        found[ends[i] - len(points) : ends[i]] = pooled(model, cut, model.parts.depths)
    return sum_over_ranks(torch.from_numpy(found).to(device_of(model))).cpu().numpy()


def _empty(model: Probe, count: int) -> Float32[np.ndarray, "N F"]:
    return np.zeros((count, sum(model.encoder.widths[-model.parts.depths :])), np.float32)
