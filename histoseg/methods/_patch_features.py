"""The annotated objects of a stage's images, and the pooled features of the patches about them."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from histoseg.errors import DataError
from histoseg.loaders.object_patches import AnnotatedObjects, annotated_objects
from histoseg.models.probe.network import Probe
from histoseg.models.tensors import device_of
from histoseg.representation.objects import features_about
from histoseg.shards.reader import MetaDataset
from histoseg.types import Place


class PatchFeatures:
    """Every object that may be trained on, with its class; their features are fetched or computed when first wanted."""

    def __init__(self, dataset: MetaDataset, patch_px: int, place: Place) -> None:
        self._store, self._patch_px, self._place = dataset.cache.store, patch_px, place
        every = [_trained_on(dataset, source, place) for source in dataset.sources]
        self._sets = [one.patches for one in every]
        self.classes = np.concatenate([np.zeros(0, np.int64), *(each - 1 for one in every for each in one.classes)])
        self.keys = [key for one in self._sets for key, points in one.centres.items() for _ in points]
        self._found: Float32[Tensor, "N F"] | None = None
        if not self.keys:
            sources = ", ".join(dataset.sources)
            raise DataError(f"{sources}: no object of known class to train on; choose other sources or splits")

    def of(self, model: Probe) -> Float32[Tensor, "N F"]:
        """The features of all objects, by the model's encoder, on its device."""
        if self._found is None:
            found = features_about(model, self._sets, self._patch_px, self._store, self._place)
            self._found = torch.from_numpy(found).to(device_of(model))
        return self._found


def _trained_on(dataset: MetaDataset, source: str, place: Place) -> AnnotatedObjects:
    """The objects of the images of a source that may be trained on."""
    samples, by_image = dataset.sources[source].samples, dict[str, list[int]]()
    for row in dataset.training_rows(source).tolist():
        by_image.setdefault(samples.image[row], []).append(row)
    return annotated_objects(
        dataset, source, by_image.values(), lambda count: range(place.rank, count, place.world_size)
    )


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
