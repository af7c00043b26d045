"""Pooled features of the patches about annotated objects, computed once for each set of images and kept in a store."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float32, Float64

from histoseg.distributed import sum_over_ranks
from histoseg.models.probe.network import Probe
from histoseg.models.tensors import device_of
from histoseg.representation.cache import FeatureSet, cached, digest_of_patches, encoder_digest
from histoseg.representation.patches import cut_patches
from histoseg.representation.pool import pooled
from histoseg.store.objects import Store
from histoseg.types import Image, Place


@dataclass(frozen=True, kw_only=True)
class ObjectPatches:
    """The patches about the objects of some images of a source.

    Attributes:
        source: Its name.
        index: The checksum of its index.
        centres: The middles of the objects, by the key of their image.
        read: Gives an image by its key.
        share: This rank's part of as many images; every image is some rank's.
    """

    source: str
    index: str
    centres: Mapping[str, Float64[np.ndarray, "_ 2"]]
    read: Callable[[str], Image]
    share: Callable[[int], Iterable[int]]


def features_about(
    model: Probe, patches: ObjectPatches, patch_px: int, store: Store, place: Place
) -> Float32[np.ndarray, "N F"]:
    """The features of all patches by the model's encoder, image by image; from the store, if that has them.

    All ranks call it for the same patches, and get the same.
    """
    wanted = FeatureSet(
        source=patches.source,
        index=patches.index,
        patches=digest_of_patches(patches.centres),
        encoder=encoder_digest(model.encoder),
        patch_px=patch_px,
        depths=model.parts.depths,
    )
    return cached(store, wanted, partial(_compute, model, patches, patch_px), place=place, device=device_of(model))


def _compute(model: Probe, patches: ObjectPatches, patch_px: int) -> Float32[np.ndarray, "N F"]:
    """Each rank does its share of the images, and all get all."""
    keys = list(patches.centres)
    ends = np.cumsum([len(points) for points in patches.centres.values()], dtype=np.int64)
    depths = model.parts.depths
    found = np.zeros((int(ends[-1]) if len(ends) else 0, sum(model.encoder.widths[-depths:])), np.float32)
    for i in patches.share(len(keys)):
        points = patches.centres[keys[i]]
        cut = cut_patches(patches.read(keys[i]), points, patch_px)
        found[ends[i] - len(points) : ends[i]] = pooled(model, cut, depths)
    return sum_over_ranks(torch.from_numpy(found).to(device_of(model))).cpu().numpy()
