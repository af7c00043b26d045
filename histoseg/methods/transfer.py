"""Instance transfer learning: one network, images of all tasks mixed, each routed to its task's head.

MetaHistoSeg, Sec. 2.2 and 3.1. The published code sums the tasks' mean losses; the paper does not say. Here each
image weighs the same, so a step means the same on any number of ranks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from histoseg.errors import ConfigError
from histoseg.loaders.batches import BatchSampler, batch_loader
from histoseg.loaders.by_class import require_weighting, shares_in_source
from histoseg.methods._begin import WholeNetwork
from histoseg.runs.config import Run
from histoseg.shards.reader import MetaDataset
from histoseg.types import Batch, Patches, Place

if TYPE_CHECKING:
    from histoseg.models.unet.network import UNet

# What a forward of the U-Net keeps for its backward, in bytes for each pixel and channel of the first level, and how
# much of that may be held at a time: 8 patches of 768 px at width 32 (docs/performance.md). It changes memory, not the
# gradient, so it is not a hyperparameter.
KEPT_BYTES = 83
KEPT_BYTES_AT_ONCE = 12 * 2**30


@dataclass(frozen=True, kw_only=True)
class Transfer(WholeNetwork):
    """Instance transfer learning; a step has `batch` patches over all ranks.

    Of each source's patches, `class_weighting` is the share whose stored sample is drawn by class.
    """

    batch: int = 64  # Sec. 3.1: "maximum batch size as 4 episodes with each consisting of 16 image samples"
    class_weighting: float = 0.0

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"method.batch = {self.batch}: must be 1 or more")
        require_weighting(self.class_weighting)

    def steps_per_epoch(self, dataset: MetaDataset) -> int:
        """Steps that show the mixed pool of all sources once."""
        return -(-self._sampler(dataset, 0).epoch_size // self.batch)

    def _sampler(self, dataset: MetaDataset, seed: int) -> BatchSampler:
        rows = {source: dataset.training_rows(source) for source in dataset.sources}
        shares = {}
        if self.class_weighting:
            shares = {
                source: shares_in_source(dataset.sources[source], chosen, self.class_weighting)
                for source, chosen in rows.items()
            }
        return BatchSampler(rows=rows, batch=self.batch, seed=seed, shares=shares)

    def batches(self, dataset: MetaDataset, run: Run, *, seed: int, place: Place, first_step: int) -> Iterator[Batch]:
        sampler = self._sampler(dataset, seed)
        return batch_loader(dataset, run.data, sampler, place=place, first_step=first_step)

    def backward(self, model: "UNet", batch: Batch) -> float:
        """Add this rank's share of the gradient of the mean loss over images; return its share of that loss.

        Each image goes through the body and its own task's head only, as many at a time as `num_at_once` allows: all
        where statistics of a batch tie its images.
        """
        size = num_at_once(model.width, batch.patches.images.shape[1]) if model.norm == "group" else 0
        return sum((_backward_part(model, part, batch.global_size) for part in batch.patches.parts(size)), 0.0)


METHOD = Transfer


def num_at_once(width: int, side_px: int) -> int:
    """How many patches of that side a U-Net of that width goes forward with before it goes backward."""
    return max(1, KEPT_BYTES_AT_ONCE // (KEPT_BYTES * width * side_px**2))


def _backward_part(model: "UNet", patches: Patches, global_size: int) -> float:
    import torch

    from histoseg.models.losses import cross_entropy_per_image
    from histoseg.models.tensors import device_of, to_tensors

    images, semantic_maps = to_tensors(patches, device_of(model))
    features = model.features(images)
    losses = []
    for task in sorted(set(patches.tasks)):
        owned = [i for i, owner in enumerate(patches.tasks) if owner == task]
        losses.append(cross_entropy_per_image(model.heads[task](features[owned]), semantic_maps[owned]))
    loss = torch.cat(losses).sum() / global_size
    torch.autograd.backward(loss)
    return float(loss.detach())
