"""The annotated objects of a stage's images, and the pooled features of the patches about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from histoseg.distributed import sum_over_ranks
from histoseg.errors import DataError
from histoseg.maps.objects import find_objects, typed_objects
from histoseg.models.probe.network import Probe
from histoseg.models.tensors import device_of
from histoseg.representation.cache import FeatureSet, cached, digest_of_patches, encoder_digest
from histoseg.representation.patches import cut_patches
from histoseg.representation.pool import pooled
from histoseg.shards.reader import MetaDataset
from histoseg.types import Place


@dataclass(frozen=True, kw_only=True)
class _ImageObjects:
    """The objects of one image whose class is known."""

    rows: Sequence[int]  # The stored samples that the image consists of
    centres: Float64[np.ndarray, "N 2"]
    classes: Int64[np.ndarray, " N"]  # From 0 on, background left out


class PatchFeatures:
    """Every object that may be trained on, with its class; their features are fetched or computed when first wanted."""

    def __init__(self, dataset: MetaDataset, patch_px: int, place: Place) -> None:
        self._dataset, self._patch_px, self._place = dataset, patch_px, place
        self._images = {source: _objects_of(dataset, source) for source in dataset.sources}
        every = [(key, image) for images in self._images.values() for key, image in images.items()]
        self.classes = np.concatenate([np.zeros(0, np.int64), *(image.classes for _, image in every)])
        self.keys = [key for key, image in every for _ in image.classes]
        self._found: Float32[Tensor, "N F"] | None = None
        if not self.keys:
            sources = ", ".join(dataset.sources)
            raise DataError(f"{sources}: no object of known class to train on; choose other sources or splits")

    def of(self, model: Probe) -> Float32[Tensor, "N F"]:
        """The features of all objects, by the model's encoder, on its device."""
        if self._found is None:
            digest = encoder_digest(model.encoder)
            parts = [self._of_source(model, source, digest) for source in self._dataset.sources]
            self._found = torch.from_numpy(np.concatenate(parts)).to(device_of(model))
        return self._found

    def _of_source(self, model: Probe, source: str, digest: str) -> Float32[np.ndarray, "N F"]:
        """The features of a source's objects, which its store keeps."""
        wanted = FeatureSet(
            source=source,
            index=self._dataset.checksums[source],
            patches=digest_of_patches({key: image.centres for key, image in self._images[source].items()}),
            encoder=digest,
            patch_px=self._patch_px,
            depths=model.parts.depths,
        )
        compute = partial(self._compute, model, source)
        return cached(self._dataset.cache.store, wanted, compute, place=self._place, device=device_of(model))

    def _compute(self, model: Probe, source: str) -> Float32[np.ndarray, "N F"]:
        """The same, computed: each rank does its share of the images, and all get all."""
        images = list(self._images[source].values())
        ends = np.cumsum([len(image.classes) for image in images])
        found = np.zeros(
            (int(ends[-1]) if len(ends) else 0, sum(model.encoder.widths[-model.parts.depths :])), np.float32
        )
        for i in range(self._place.rank, len(images), self._place.world_size):
            image = images[i]
            pixels = self._dataset.whole_image(source, image.rows).image
            patches = cut_patches(pixels, image.centres, self._patch_px)
            found[ends[i] - len(image.classes) : ends[i]] = pooled(model, patches, model.parts.depths)
        return sum_over_ranks(torch.from_numpy(found).to(device_of(model))).cpu().numpy()


def _objects_of(dataset: MetaDataset, source: str) -> Mapping[str, _ImageObjects]:
    """The objects of each image of a source that may be trained on, by the image's key."""
    samples, by_image = dataset.sources[source].samples, dict[str, list[int]]()
    for row in dataset.training_rows(source).tolist():
        by_image.setdefault(samples.image[row], []).append(row)
    return {key: _objects_in(dataset, source, rows) for key, rows in by_image.items()}


def _objects_in(dataset: MetaDataset, source: str, rows: Sequence[int]) -> _ImageObjects:
    sample = dataset.whole_image(source, rows)
    if sample.instance_map is None:
        raise DataError(f"{source} has no objects, so there are no patches about them; choose a source that has")
    num_types = dataset.sources[source].task.num_classes
    objects, classes = typed_objects(sample.instance_map, sample.semantic_map, num_types)
    return _ImageObjects(rows=rows, centres=find_objects(objects).centroids, classes=classes.astype(np.int64) - 1)


@dataclass(frozen=True, kw_only=True)
class ProbeBatch:
    """This rank's share of a step on features, which has `global_size` patches over all ranks."""

    table: PatchFeatures
    rows: Int64[np.ndarray, " B"]
    keys: tuple[str, ...]
    global_size: int


def backward(model: Probe, batch: ProbeBatch) -> float:
    """Add this rank's share of the gradient of the mean cross-entropy; return its share of that loss."""
    (head,) = model.heads
    device = device_of(model)
    features = batch.table.of(model)[torch.from_numpy(batch.rows).to(device)]
    classes = torch.from_numpy(batch.table.classes[batch.rows]).to(device)
    logits = model.head(head, features)
    loss = torch.nn.functional.cross_entropy(logits, classes, reduction="sum") / batch.global_size
    torch.autograd.backward(loss)
    return float(loss.detach())
