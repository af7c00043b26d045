"""MAML (Finn et al. 2017, Algorithm 2) over segmentation tasks, each with its own head.

An episode adapts θ_0 to θ_n by n steps of gradient descent on its support loss S, and scores θ_n by its query loss
Q. With v_n = ∇Q(θ_n), the chain rule through θ_{i+1} = θ_i - α ∇S(θ_i) gives the meta-gradient v_0 by

    v_i = v_{i+1} - α ∇²S(θ_i) v_{i+1}

Each θ_i is a new leaf, so only one inner step's graph is needed at a time. That graph is either kept from the
inner step (one forward of support and one of query: the least work) or, with `micro_batch`, made again for a few
images at a time, since S and Q are means over images: the same gradient in a fraction of the memory. First order
leaves the second term out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from histoseg.errors import ConfigError
from histoseg.loaders.by_class import require_weighting
from histoseg.loaders.episodes import EpisodeSampler, episode_loader, pool_of
from histoseg.methods._begin import WholeNetwork, num_steps
from histoseg.runs.config import Run
from histoseg.shards.reader import MetaDataset
from histoseg.types import Episode, MetaBatch, Place

if TYPE_CHECKING:
    from histoseg.methods._meta_gradient import Weights
    from histoseg.models.unet.network import UNet


@dataclass(frozen=True, kw_only=True)
class Maml(WholeNetwork):
    """Model-agnostic meta-learning; the defaults are those of MetaHistoSeg, Sec. 3.1."""

    support: int = 8  # Images to adapt on in an episode; `query`: images to score on
    query: int = 8
    episodes: int = 4  # Episodes in one outer step over all ranks
    inner_lr: float = 0.01  # Step size of the adaptation; `inner_steps`: how many steps it has
    inner_steps: int = 1
    first_order: bool = False  # Leave out second derivatives (Finn et al. 2017, Sec. 5.2).
    micro_batch: int = 0  # Images whose second derivatives are held in memory at a time; 0 means all
    task_weights: tuple[tuple[str, float], ...] = ()  # The distribution over tasks, as (task, weight); uniform if empty
    class_weighting: float = 0.0  # The share of an episode's patches whose stored sample is drawn by class

    def __post_init__(self) -> None:
        for name in ("support", "query", "episodes", "inner_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"method.{name} = {getattr(self, name)}: must be 1 or more")
        if self.inner_lr <= 0:
            raise ConfigError(f"method.inner_lr = {self.inner_lr}: must be above 0")
        if self.micro_batch < 0:
            raise ConfigError(f"method.micro_batch = {self.micro_batch}: must be 0 (all images) or more")
        require_weighting(self.class_weighting)

    def steps_per_epoch(self, dataset: MetaDataset) -> int:
        return num_steps(dataset, self.episodes * (self.support + self.query))

    def batches(
        self, dataset: MetaDataset, run: Run, *, seed: int, place: Place, first_step: int
    ) -> Iterator[MetaBatch]:
        sampler = EpisodeSampler(
            pools={source: pool_of(dataset, source, self.class_weighting) for source in dataset.sources},
            weights=dict(self.task_weights),
            support=self.support,
            query=self.query,
            episodes=self.episodes,
            seed=seed,
        )
        return episode_loader(dataset, run.data, sampler, place=place, first_step=first_step)

    def backward(self, model: "UNet", batch: MetaBatch) -> float:
        """Add this rank's share of the meta-gradient; return its share of the mean query loss after adaptation."""
        if self.micro_batch and model.norm != "group":
            raise ConfigError("method.micro_batch needs network.norm = group: statistics of a batch tie its images")
        total = 0.0
        for episode in batch.episodes:
            loss, gradient = self.meta_gradient(model, episode)
            total += loss / batch.global_size
            for name, parameter in model.named_parameters():
                if (part := gradient.get(name)) is not None:
                    part = part / batch.global_size
                    parameter.grad = part if parameter.grad is None else parameter.grad + part
        return total

    def meta_gradient(self, model: "UNet", episode: Episode) -> "tuple[float, Weights]":
        """The query loss after adaptation, and its gradient by the weights before it."""
        from histoseg.methods._meta_gradient import meta_gradient

        return meta_gradient(
            model,
            episode,
            inner_lr=self.inner_lr,
            inner_steps=self.inner_steps,
            first_order=self.first_order,
            micro_batch=self.micro_batch,
        )


METHOD = Maml
