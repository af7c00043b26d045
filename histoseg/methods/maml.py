"""MAML (Finn et al. 2017, Algorithm 2) over segmentation tasks, each with its own head.

An episode adapts θ_0 to θ_n by n steps of gradient descent on its support loss S, and scores θ_n by its query loss
Q. With v_n = ∇Q(θ_n), the chain rule through θ_{i+1} = θ_i - α ∇S(θ_i) gives the meta-gradient v_0 by

    v_i = v_{i+1} - α ∇²S(θ_i) v_{i+1}

Each θ_i is a leaf of its own, so only one inner step's graph is needed at a time. That graph is either kept from the
inner step (one forward of support and one of query: the least work) or, with `micro_batch`, made again for a few
images at a time, since S and Q are means over images: the same gradient in a fraction of the memory. First order
leaves the second term out.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from histoseg.config import Data
from histoseg.errors import ConfigError
from histoseg.loaders.episodes import EpisodeSampler, episode_loader, pool_of
from histoseg.losses import cross_entropy_per_image
from histoseg.models.tensors import device_of, to_tensors
from histoseg.models.unet import UNet, names_for, statistics_kept
from histoseg.shards.reader import MetaDataset
from histoseg.types import Episode, MetaBatch, Patches, Place

Weights = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Maml:
    """Model-agnostic meta-learning; the defaults are those of MetaHistoSeg, Sec. 3.1.

    Attributes:
        support: Images to adapt on in an episode; `query`: images to score on.
        episodes: Episodes in one outer step over all ranks.
        inner_lr: Step size of the adaptation; `inner_steps`: how many steps it has.
        first_order: Leave out second derivatives (Finn et al. 2017, Sec. 5.2).
        micro_batch: Images whose second derivatives are held in memory at a time; 0 means all.
        task_weights: The distribution over tasks, as (task, weight); uniform if empty.
    """

    support: int = 8
    query: int = 8
    episodes: int = 4
    inner_lr: float = 0.01
    inner_steps: int = 1
    first_order: bool = False
    micro_batch: int = 0
    task_weights: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        for name in ("support", "query", "episodes", "inner_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"method.{name} = {getattr(self, name)}: must be 1 or more")
        if self.inner_lr <= 0:
            raise ConfigError(f"method.inner_lr = {self.inner_lr}: must be above 0")
        if self.micro_batch < 0:
            raise ConfigError(f"method.micro_batch = {self.micro_batch}: must be 0 (all images) or more")

    def batches(
        self, dataset: MetaDataset, data: Data, *, seed: int, place: Place, first_step: int
    ) -> Iterator[MetaBatch]:
        """This rank's episodes of each outer step."""
        sampler = EpisodeSampler(
            pools={source: pool_of(dataset, source) for source in dataset.sources},
            weights=dict(self.task_weights),
            support=self.support,
            query=self.query,
            episodes=self.episodes,
            seed=seed,
        )
        return episode_loader(dataset, data, sampler, place=place, first_step=first_step)

    def backward(self, model: UNet, batch: MetaBatch) -> float:
        """Add this rank's share of the meta-gradient; return its share of the mean query loss after adaptation."""
        if self.micro_batch and model.spec.norm != "group":
            raise ConfigError("method.micro_batch needs model.norm = group: statistics of a batch tie its images")
        total = 0.0
        for episode in batch.episodes:
            loss, gradient = self.meta_gradient(model, episode)
            total += loss / batch.global_size
            for name, parameter in model.named_parameters():
                if (part := gradient.get(name)) is not None:
                    part = part / batch.global_size
                    parameter.grad = part if parameter.grad is None else parameter.grad + part
        return total

    def meta_gradient(self, model: UNet, episode: Episode) -> tuple[float, Weights]:
        """The query loss after adaptation, and its gradient by the weights before it."""
        used = set(names_for(model, [episode.task]))
        weights = {name: leaf(p) for name, p in model.named_parameters() if name in used}
        path: list[tuple[Weights, Weights]] = []
        for step in range(self.inner_steps):
            # Running statistics come from support images at the shared weights, and from nothing else.
            with statistics_kept(model) if step else nullcontext():
                keep_graph = not (self.first_order or self.micro_batch)
                support = model, weights, episode.support, episode.task
                _, slopes = self._mean_gradient(*support, keep_graph=keep_graph)
            path.append((weights, slopes))
            weights = {name: leaf(weights[name] - self.inner_lr * slopes[name]) for name in weights}
        with statistics_kept(model):
            loss, gradient = self._mean_gradient(model, weights, episode.query, episode.task)
            if not self.first_order:
                for before, slopes in reversed(path):
                    curved = self._hessian_product(model, before, slopes, gradient, episode)
                    gradient = {name: gradient[name] - self.inner_lr * curved[name] for name in gradient}
        return loss, gradient

    def _mean_gradient(
        self, model: UNet, weights: Weights, patches: Patches, task: str, *, keep_graph: bool = False
    ) -> tuple[float, Weights]:
        """The mean loss over patches at some weights, and its gradient, a micro-batch at a time."""
        value, total = 0.0, Weights()
        for part, share in _parts(patches, self.micro_batch):
            loss = mean_loss(model, weights, part, task) * share
            slopes = _gradient(loss, weights, create_graph=keep_graph)
            value += float(loss.detach())
            total = {name: total[name] + slopes[name] if total else slopes[name] for name in slopes}
        return value, total

    def _hessian_product(
        self, model: UNet, weights: Weights, slopes: Weights, vector: Weights, episode: Episode
    ) -> Weights:
        """∇²S · vector at some weights: the gradient of ∇S · vector."""
        if not self.micro_batch:
            return _product(slopes, weights, vector)
        total = {name: torch.zeros_like(value) for name, value in weights.items()}
        for part, share in _parts(episode.support, self.micro_batch):
            loss = mean_loss(model, weights, part, episode.task) * share
            curved = _product(_gradient(loss, weights, create_graph=True), weights, vector)
            total = {name: total[name] + curved[name] for name in total}
        return total


METHOD = Maml


def leaf(tensor: Tensor) -> Tensor:
    """The same numbers as the start of a new graph."""
    return tensor.detach().requires_grad_()


def mean_loss(model: UNet, weights: Weights, patches: Patches, task: str) -> Tensor:
    """Mean cross-entropy over patches of the model with other weights; the model's own are not touched."""
    images, semantic_maps = to_tensors(patches, device_of(model))
    return cross_entropy_per_image(functional_call(model, weights, (images, task)), semantic_maps).mean()


def _gradient(loss: Tensor, weights: Weights, *, create_graph: bool = False) -> Weights:
    slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=create_graph)
    return dict(zip(weights, slopes, strict=True))


def _product(slopes: Weights, weights: Weights, vector: Weights) -> Weights:
    """The gradient of slopes · vector by the weights."""
    names = list(weights)
    curved = torch.autograd.grad(
        [slopes[name] for name in names],
        [weights[name] for name in names],
        grad_outputs=[vector[name] for name in names],
        materialize_grads=True,
    )
    return dict(zip(names, curved, strict=True))


def _parts(patches: Patches, size: int) -> Iterator[tuple[Patches, float]]:
    """Consecutive parts of at most `size` patches (all if 0), each with its share of the whole."""
    whole = len(patches.tasks)
    for start in range(0, whole, size or whole):
        chosen = slice(start, start + (size or whole))
        part = Patches(
            images=patches.images[chosen],
            semantic_maps=patches.semantic_maps[chosen],
            tasks=patches.tasks[chosen],
            keys=patches.keys[chosen],
        )
        yield part, len(part.tasks) / whole
