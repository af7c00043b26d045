"""Object subtyping: a decoder for the classes of nuclei, trained alone on a network that stays as it is.

Cerberus, Sec. 3.3.2. Everything else is frozen to the bit, running statistics included.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from histoseg.errors import ConfigError, DataError
from histoseg.loaders.mixed import MixedSampler, mixed_loader, pools_of
from histoseg.runs.config import Data
from histoseg.shards.reader import MetaDataset
from histoseg.types import MixedBatch, Place

if TYPE_CHECKING:
    from histoseg.models.cerberus.network import Cerberus

DECODER = "nuclei_type"


@dataclass(frozen=True, kw_only=True)
class Subtyping:
    """Training of the decoder for nuclei's classes by masked cross-entropy and Dice.

    Attributes:
        batch: Patches in one step over all ranks.
    """

    batch: int = 27  # As in multi-task training; Sec. 3.3.2 gives none.

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"subtyping.batch = {self.batch}: must be 1 or more")

    def batches(
        self, dataset: MetaDataset, data: Data, *, seed: int, place: Place, first_step: int
    ) -> Iterator[MixedBatch]:
        """This rank's share of each step: patches of the sources that say of which class a nucleus is."""
        chosen = typed_sources(dataset)
        if not chosen:
            raise DataError(
                f"none of {', '.join(dataset.sources)} tells classes of nuclei; prepare lizard, for example"
            )
        typed = MetaDataset(
            sources={name: dataset.sources[name] for name in chosen}, cache=dataset.cache, training=dataset.training
        )
        sampler = MixedSampler(pools=pools_of(typed, data), batch=self.batch, mixed=False, seed=seed)
        return mixed_loader(typed, data, sampler, contour=False, place=place, first_step=first_step)

    def backward(self, model: "Cerberus", batch: MixedBatch) -> float:
        """Add this rank's share of the gradient; return its share of the loss."""
        import torch

        from histoseg.distributed import world_size
        from histoseg.models.losses import subtyping_loss
        from histoseg.models.tensors import device_of, to_device

        device = device_of(model)
        features = model.encode(to_device(batch.images, device))
        logits = model.decode(features, DECODER).float()
        types = to_device(batch.types, device).long()
        # The loss is of the whole step, and each rank has it: their shares add up to one.
        loss = subtyping_loss(logits, types) / world_size()
        torch.autograd.backward(loss)
        return float(loss.detach())


METHOD = Subtyping


def typed_sources(dataset: MetaDataset) -> tuple[str, ...]:
    """The sources that tell classes of nuclei, of which all but the first must tell the same ones to count."""
    nuclei = {name: index.task.classes for name, index in dataset.sources.items() if index.task.structure == "nuclei"}
    typed = {name: classes for name, classes in nuclei.items() if len(classes) > 2}
    first = next(iter(typed.values()), ())
    return tuple(name for name, classes in typed.items() if classes == first)
