"""Instance transfer learning: one network, images of all tasks mixed, each routed to its task's head.

MetaHistoSeg, Sec. 2.2 and 3.1. The published code sums the tasks' mean losses; the paper does not say. Here each
image weighs the same, so a step means the same on any number of ranks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from histoseg.config import Data
from histoseg.errors import ConfigError
from histoseg.loaders.batches import BatchSampler, batch_loader
from histoseg.shards.reader import MetaDataset
from histoseg.types import Batch, Place

if TYPE_CHECKING:
    from histoseg.models.unet import UNet


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Instance transfer learning.

    Attributes:
        batch: Patches in one step over all ranks.
    """

    batch: int = 64  # Sec. 3.1: "maximum batch size as 4 episodes with each consisting of 16 image samples"

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"method.batch = {self.batch}: must be 1 or more")

    def batches(self, dataset: MetaDataset, data: Data, *, seed: int, place: Place, first_step: int) -> Iterator[Batch]:
        """This rank's share of each step."""
        rows = {source: dataset.training_rows(source) for source in dataset.sources}
        sampler = BatchSampler(rows=rows, batch=self.batch, seed=seed)
        return batch_loader(dataset, data, sampler, place=place, first_step=first_step)

    def backward(self, model: "UNet", batch: Batch) -> float:
        """Add this rank's share of the gradient of the mean loss over images; return its share of that loss."""
        return backward_batch(model, batch)


METHOD = Transfer


def backward_batch(model: "UNet", batch: Batch) -> float:
    """One forward through the body for all tasks, then each image through its own head only."""
    import torch

    from histoseg.losses import cross_entropy_per_image
    from histoseg.models.tensors import device_of, to_tensors

    if not batch.patches.tasks:
        return 0.0
    images, semantic_maps = to_tensors(batch.patches, device_of(model))
    features = model.features(images)
    losses = []
    for task in sorted(set(batch.patches.tasks)):
        owned = [i for i, owner in enumerate(batch.patches.tasks) if owner == task]
        losses.append(cross_entropy_per_image(model.heads[task](features[owned]), semantic_maps[owned]))
    loss = torch.cat(losses).sum() / batch.global_size
    torch.autograd.backward(loss)
    return float(loss.detach())
