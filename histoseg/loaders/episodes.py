"""Task-level sampling (MetaHistoSeg, Sec. 2.2): draw a task, then its support and query.

The published code always creates the same permutation, so meta-training sees the same 16 images of each source.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import numpy as np

from histoseg.errors import ConfigError, DataError
from histoseg.loaders.by_class import shares_in_source
from histoseg.loaders.prefetch import PatchCutter, PatchPlan, prefetch
from histoseg.runs.config import Data
from histoseg.seeds import stream
from histoseg.shards.reader import MetaDataset
from histoseg.types import Episode, MetaBatch, Place

DRAWS = 32  # How often patients are dealt again before support and query are separated by image only.


@dataclass(frozen=True, kw_only=True)
class EpisodePlan:
    """The patches of an episode, before any pixel is read."""

    task: str
    support: tuple[PatchPlan, ...]
    query: tuple[PatchPlan, ...]


@dataclass(frozen=True, kw_only=True)
class TaskPool:
    """The samples of one task; `image` and `patient` are the number of each row's image and patient."""

    rows: np.ndarray
    image: np.ndarray
    patient: np.ndarray
    share: np.ndarray | None = None  # How likely each is drawn first; None means all alike


@dataclass(frozen=True, kw_only=True)
class EpisodeSampler:
    """Which samples episode e of step t has: a pure function of (seed, t, e)."""

    pools: Mapping[str, TaskPool]  # The samples of each task that may be drawn
    weights: Mapping[str, float]  # The distribution over tasks; uniform if empty
    support: int  # Images to adapt on in an episode (K); `query`: images to score on (Q)
    query: int
    episodes: int  # Episodes in one outer step over all ranks
    seed: int

    def __post_init__(self) -> None:
        for task, pool in self.pools.items():
            if len(pool.rows) < self.support + self.query:
                raise DataError(
                    f"{task} has {len(pool.rows)} samples, but an episode needs {self.support} + {self.query}; "
                    "lower method.support and method.query or leave the source out"
                )
        _ = self._probabilities

    def plan(self, step: int, episode: int) -> EpisodePlan:
        """One episode: its task by the distribution, then support and query, of different patients where possible."""
        rng = stream(self.seed, step, episode)
        task = list(self.pools)[int(rng.choice(len(self.pools), p=self._probabilities))]
        pool = self.pools[task]
        support, query = self._deal(pool, rng)
        seeds = rng.integers(2**32, size=self.support + self.query)
        plans = [
            PatchPlan(source=task, row=int(pool.rows[i]), seed=int(seed))
            for i, seed in zip((*support, *query), seeds, strict=True)
        ]
        return EpisodePlan(task=task, support=tuple(plans[: self.support]), query=tuple(plans[self.support :]))

    def steps(self, place: Place, first_step: int) -> Iterator[list[EpisodePlan]]:
        """This rank's episodes of each step from `first_step` on: every world-size-th of the step."""
        for step in count(first_step):
            yield [self.plan(step, episode) for episode in range(place.rank, self.episodes, place.world_size)]

    @cached_property
    def _probabilities(self) -> np.ndarray:
        if unknown := set(self.weights) - set(self.pools):
            raise ConfigError(f"weight for {', '.join(sorted(unknown))}; the tasks are {', '.join(self.pools)}")
        values = np.array([self.weights.get(task, 0.0) if self.weights else 1.0 for task in self.pools])
        if values.min() < 0 or values.sum() <= 0:
            raise ConfigError(f"task weights {dict(self.weights)} must be 0 or more, and one above 0")
        return np.asarray(values / values.sum())

    def _deal(self, pool: TaskPool, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Positions in the pool for support and query: of different patients, else different images, else samples."""
        for owner in (pool.patient, pool.image):
            num_owners = int(owner.max()) + 1
            if num_owners == 1:
                continue
            share = round(num_owners * self.support / (self.support + self.query))
            num_support = min(max(share, 1), num_owners - 1)
            for _ in range(DRAWS):
                in_support = np.zeros(num_owners, bool)
                in_support[rng.permutation(num_owners)[:num_support]] = True
                side = in_support[owner]
                ours, others = np.flatnonzero(side), np.flatnonzero(~side)
                if len(ours) >= self.support and len(others) >= self.query:
                    return _draw(pool, ours, self.support, rng), _draw(pool, others, self.query, rng)
        drawn = _draw(pool, np.arange(len(pool.rows)), self.support + self.query, rng)
        return drawn[: self.support], drawn[self.support :]


def _draw(pool: TaskPool, positions: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """That many of some positions in a pool, none twice: each by its share among those that are left."""
    if pool.share is None:
        return rng.choice(positions, size, replace=False)
    share = pool.share[positions]
    return rng.choice(positions, size, replace=False, p=share / share.sum())


def pool_of(dataset: MetaDataset, source: str, class_weighting: float = 0.0) -> TaskPool:
    """The samples of a source that may be trained on, a share of which is drawn by class."""
    index = dataset.sources[source]
    rows = dataset.training_rows(source)
    image = np.unique(np.asarray(index.samples.image)[rows], return_inverse=True)[1]
    patient = np.unique(np.asarray(index.samples.patient)[rows], return_inverse=True)[1]
    share = shares_in_source(index, rows, class_weighting) if class_weighting else None
    return TaskPool(rows=rows, image=image, patient=patient, share=share)


def episode_loader(
    dataset: MetaDataset, data: Data, sampler: EpisodeSampler, *, place: Place, first_step: int = 0
) -> Iterator[MetaBatch]:
    """This rank's episodes of each outer step, without end."""
    cutter = PatchCutter(dataset, data)

    def make(plans: list[EpisodePlan]) -> MetaBatch:
        episodes = tuple(
            Episode(task=plan.task, support=cutter.cut(plan.support), query=cutter.cut(plan.query)) for plan in plans
        )
        return MetaBatch(episodes=episodes, global_size=sampler.episodes)

    return prefetch(sampler.steps(place, first_step), make)
