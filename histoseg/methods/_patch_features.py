"""The annotated objects of a stage's images, and the pooled features of the patches about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from histoseg.errors import DataError
from histoseg.maps.objects import find_objects, typed_objects
from histoseg.models.probe.network import Probe
from histoseg.models.tensors import device_of
from histoseg.representation.objects import ObjectPatches, features_about
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
            parts = [self._of_source(model, source) for source in self._dataset.sources]
            self._found = torch.from_numpy(np.concatenate(parts)).to(device_of(model))
        return self._found

    def _of_source(self, model: Probe, source: str) -> Float32[np.ndarray, "N F"]:
        images, place = self._images[source], self._place
        patches = ObjectPatches(
            source=source,
            index=self._dataset.checksums[source],
            centres={key: image.centres for key, image in images.items()},
            read=lambda key: self._dataset.whole_image(source, images[key].rows).image,
            share=lambda count: range(place.rank, count, place.world_size),
        )
        return features_about(model, patches, self._patch_px, self._dataset.cache.store, place)


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
