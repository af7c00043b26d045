"""Object subtyping: what tells kinds of nuclei or glands apart, trained alone on a network that stays as it is.

Cerberus, Sec. 3.3.2. Everything else is frozen to the bit, running statistics included.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from histoseg.errors import ConfigError, DataError
from histoseg.loaders.by_class import require_weighting
from histoseg.loaders.mixed import MixedSampler, mixed_loader, pools_of
from histoseg.methods._begin import num_steps
from histoseg.runs.config import Run
from histoseg.shards.reader import MetaDataset
from histoseg.types import MixedBatch, Place, Task

if TYPE_CHECKING:
    from histoseg.models.cerberus.network import Cerberus
    from histoseg.models.network import Network

Mode = Literal["PixelA", "PixelB"]
Loss = Literal["ce", "ce+dice", "masked"]


@dataclass(frozen=True, kw_only=True)
class Subtyping:
    """Training of what tells the classes of one structure's objects apart; the defaults are the published choice.

    Attributes:
        batch: Patches in one step over all ranks.
        class_weights: What a pixel of each class from 1 on counts in the cross-entropy, which then is that of the
            published code; none means that of the paper's Eq. 3, where every class weighs the same.
        mode: A decoder of its own ("PixelB"), or an extra head on the branch that separates the objects ("PixelA"),
            after its last upsampling; the names are those of the paper's Table 7.
        loss: Cross-entropy, or cross-entropy and Dice, over all pixels, background being one more class; or both over
            the pixels of objects alone ("masked", Eqs. 2 to 4).
        class_weighting: The share of patches whose stored sample is drawn by class.
    """

    batch: int = 27  # As in multi-task training; Sec. 3.3.2 gives none.
    class_weights: tuple[float, ...] = ()
    mode: Mode = "PixelB"
    loss: Loss = "masked"
    class_weighting: float = 0.0

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"subtyping.batch = {self.batch}: must be 1 or more")
        if not all(weight > 0 for weight in self.class_weights):
            raise ConfigError(f"subtyping.class_weights = {self.class_weights}: must be above 0")
        require_weighting(self.class_weighting)

    def network(self, run: Run, tasks: Mapping[str, Task], before: "Network | None", seed: int) -> "Network":  # noqa: ARG002  # every method's
        """A copy of the network with a decoder or head for classes, which alone is trained."""
        from histoseg.models.cerberus.network import Cerberus, with_type_decoder

        kinds = {(task.structure, task.classes) for task in tasks.values()}
        if not isinstance(before, Cerberus) or len(kinds) != 1:
            raise DataError(f"{', '.join(tasks)} do not have the same classes of objects, which subtyping learns")
        structure, classes = kinds.pop()
        if self.class_weights and len(self.class_weights) != len(classes) - 1:
            names = ", ".join(classes[1:])
            raise ConfigError(f"subtyping.class_weights = {self.class_weights}: must be one number for each of {names}")
        if structure not in before.decoders:
            raise ConfigError(
                f"subtyping of {structure}: the network before has no branch that finds them, only for "
                f"{', '.join(before.decoders)}; go on from one that has"
            )
        return with_type_decoder(before, structure, len(classes), seed, on_branch=self.mode == "PixelA")

    def steps_per_epoch(self, dataset: MetaDataset) -> int:
        return num_steps(dataset, self.batch)

    def batches(
        self, dataset: MetaDataset, run: Run, *, seed: int, place: Place, first_step: int
    ) -> Iterator[MixedBatch]:
        pools = pools_of(dataset, run.data, self.class_weighting)
        sampler = MixedSampler(pools=pools, batch=self.batch, mixed=False, seed=seed)
        return mixed_loader(dataset, run, sampler, place=place, first_step=first_step)

    def backward(self, model: "Cerberus", batch: MixedBatch) -> float:
        import torch

        from histoseg.distributed import world_size
        from histoseg.models.losses import subtyping_loss
        from histoseg.models.tensors import device_of, to_device

        device = device_of(model)
        features = model.encode(to_device(batch.images, device))
        logits = model.decode(features, model.trains_only).float()
        types = to_device(batch.types, device).long()
        # The loss is of the whole step, and each rank has it: their shares add up to one.
        masked, dice = self.loss == "masked", self.loss != "ce"
        loss = subtyping_loss(logits, types, self.class_weights, masked=masked, dice=dice) / world_size()
        torch.autograd.backward(loss)
        return float(loss.detach())


METHOD = Subtyping
