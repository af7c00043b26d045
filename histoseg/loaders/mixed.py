"""Task sampling of Cerberus, Sec. 3.2.1: mixed and fixed batches, and super tasks whose patches differ in size.

The published code takes tasks in turn; the paper draws them, and so do we unless `in_turn` is set.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Protocol, runtime_checkable

import numpy as np

from histoseg.errors import ConfigError, DataError
from histoseg.loaders.by_class import class_pixels_by_name, shares_by_class
from histoseg.loaders.prefetch import Cutter, PatchPlan, prefetch, stacked
from histoseg.maps.objects import is_known
from histoseg.runs.config import Data, Run, public_name
from histoseg.seeds import stream
from histoseg.shards.reader import MetaDataset
from histoseg.structures import TISSUE
from histoseg.types import InstanceMap, MixedBatch, Place, Target

TISSUE_SHARE = 0.3  # Sec. 3.2.1: super tasks "are selected with probabilities of 0.7 and 0.3"


@runtime_checkable
class Teacher(Protocol):
    """Settings of a network that learns objects."""

    def target(self, instance_map: InstanceMap, structure: str, mpp: float) -> Target:
        """What is learnt from a patch of a structure, at `mpp` microns per pixel; of any patch of that size as large.

        It may be as large as the patch, or a part in its middle, which has an even number of pixels less.
        """


@dataclass(frozen=True, kw_only=True)
class Pool:
    """All stored samples that a structure is annotated in, whichever source they are from."""

    sources: tuple[str, ...]  # Names of sources
    owner: np.ndarray  # Which of them each sample is from, int64
    rows: np.ndarray  # Its row there, int64
    share: (
        np.ndarray
    )  # How likely it is drawn: in proportion to its area, since the paper draws among patches, or by class


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """A rank's patches of a step by structure, before any pixel is read; `counts` is of all ranks."""

    patches: Mapping[str, list[PatchPlan]]
    counts: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class MixedSampler:
    """Which patches step t has: a pure function of (seed, t)."""

    pools: Mapping[str, Pool]  # The samples of each structure
    batch: int  # Patches in one step over all ranks
    mixed: bool  # Whether each patch of a step draws its structure (p = 1/T), or all have the same one
    seed: int
    in_turn: bool = False  # Whether structures follow each other as in the published code instead of being drawn

    def __post_init__(self) -> None:
        if empty := [structure for structure, pool in self.pools.items() if not len(pool.rows)]:
            raise DataError(f"no images to train on for {', '.join(empty)}")

    @cached_property
    def _objects(self) -> tuple[str, ...]:
        """The structures whose objects are annotated: the super task of large patches."""
        return tuple(structure for structure in self.pools if structure != TISSUE)

    def structures(self, step: int) -> list[str]:
        """The structure of each patch of a step, sorted, so that every rank gets as many of each, to within one."""
        choices, drawn = self._in_turn(step) if self.in_turn else self._drawn(step)
        return [choices[i] for i in np.sort(np.resize(drawn, self.batch))]

    def _drawn(self, step: int) -> tuple[tuple[str, ...], np.ndarray]:
        """The structures of a step's super task, and which of them its patches have."""
        rng = stream(self.seed, 0, step)
        is_tissue = TISSUE in self.pools and (not self._objects or rng.random() < TISSUE_SHARE)
        choices = (TISSUE,) if is_tissue else self._objects
        return choices, rng.integers(len(choices), size=self.batch if self.mixed else 1)

    def _in_turn(self, step: int) -> tuple[tuple[str, ...], np.ndarray]:
        """The same as the published samplers have it.

        Of T data sets, tissue has every T-th step, from the first on. Patch i of a mixed step has structure i modulo
        the number of structures; of steps of one structure, each has the next one.
        """
        turn = step % len(self.pools)
        if TISSUE in self.pools and turn == 0:
            return (TISSUE,), np.zeros(1, int)
        number = turn - (TISSUE in self.pools)
        return self._objects, np.arange(len(self._objects)) if self.mixed else np.array([number])

    def plan(self, step: int, place: Place) -> StepPlan:
        """A rank's patches of a step: every world-size-th."""
        structures = self.structures(step)
        patches: dict[str, list[PatchPlan]] = {structure: [] for structure in dict.fromkeys(structures)}
        for i in range(place.rank, self.batch, place.world_size):
            patches[structures[i]].append(self._draw(structures[i], step, i))
        return StepPlan(patches=patches, counts={name: structures.count(name) for name in patches})

    def _draw(self, structure: str, step: int, i: int) -> PatchPlan:
        rng, pool = stream(self.seed, 1, step, i), self.pools[structure]
        drawn = int(np.searchsorted(self._cumulative[structure], rng.random(), side="right"))
        return PatchPlan(
            source=pool.sources[pool.owner[drawn]], row=int(pool.rows[drawn]), seed=int(rng.integers(2**32))
        )

    @cached_property
    def _cumulative(self) -> dict[str, np.ndarray]:
        """The upper end of each sample's part of the interval from 0 to 1, the last one left open."""
        return {name: np.cumsum(pool.share)[:-1] / pool.share.sum() for name, pool in self.pools.items()}

    def steps(self, first_step: int, place: Place) -> Iterator[StepPlan]:
        """This rank's share of each step from `first_step` on."""
        for step in count(first_step):
            yield self.plan(step, place)


def pools_of(dataset: MetaDataset, data: Data, class_weighting: float = 0.0) -> dict[str, Pool]:
    """The training samples of each structure that the sources have, in the order of the sources."""
    by_structure: dict[str, list[str]] = {}
    for name, index in dataset.sources.items():
        if index.task.structure:
            by_structure.setdefault(index.task.structure, []).append(name)
    return {structure: _pool(dataset, names, data, class_weighting) for structure, names in by_structure.items()}


def _pool(dataset: MetaDataset, names: list[str], data: Data, class_weighting: float) -> Pool:
    rows = [dataset.training_rows(name) for name in names]
    shares = []
    for name, chosen in zip(names, rows, strict=True):
        samples = dataset.sources[name].samples
        sides = np.stack([np.asarray(samples.height)[chosen], np.asarray(samples.width)[chosen]])
        side_px = data.tissue_px if dataset.sources[name].task.kind == "patch" else data.side_px
        shares.append(np.maximum(1.0, sides / side_px).prod(axis=0))
    owner = np.repeat(np.arange(len(names)), [len(chosen) for chosen in rows])
    share = np.concatenate(shares)
    if class_weighting:
        class_pixels = class_pixels_by_name([dataset.sources[name] for name in names], rows)
        share = shares_by_class(class_pixels, share, class_weighting)
    return Pool(sources=tuple(names), owner=owner, rows=np.concatenate(rows), share=share)


class _MixedCutter(Cutter):
    """Cuts patches and makes their targets."""

    def __init__(self, dataset: MetaDataset, data: Data, teacher: Teacher) -> None:
        super().__init__(dataset, data)
        self._teacher = teacher

    def cut(self, plan: StepPlan) -> MixedBatch:
        """A rank's share of a step."""
        plans = [(structure, patch) for structure, patches in plan.patches.items() for patch in patches]
        cut = [self._tissue(patch) if name == TISSUE else self._objects(patch, name) for name, patch in plans]
        side = self._data.tissue_px if TISSUE in plan.counts else self._data.side_px
        like = cut[0][1] if cut else self._empty(next(iter(plan.counts)))
        size = like.classes.shape
        return MixedBatch(
            images=stacked([image for image, _, _ in cut], (side, side, 3)),
            classes=stacked([target.classes for _, target, _ in cut], size),
            weights=stacked([target.weights for _, target, _ in cut], size, np.float32),
            maps=stacked([target.maps for _, target, _ in cut], like.maps.shape, np.float32),
            types=stacked([types for _, _, types in cut], size),
            structures=tuple(name for name, _ in plans),
            keys=self.keys([patch for _, patch in plans]),
            seeds=tuple(patch.seed for _, patch in plans),
            counts=plan.counts,
        )

    def _objects(self, plan: PatchPlan, structure: str) -> tuple[np.ndarray, Target, np.ndarray]:
        image, semantic_map = self._dataset.read(plan.source, plan.row)
        instance_map = self._dataset.read_instances(plan.source, plan.row)
        patch, (types, instances) = self.augment(image, [semantic_map, instance_map], plan.seed)
        target = self._teacher.target(instances.astype(np.int32), structure, self._data.mpp)
        types, instances = (middle_of(each, target.classes.shape) for each in (types, instances))
        target.weights[~is_known(types, instances)] = 0
        return patch, target, types.astype(np.uint8)  # albumentations stacks maps, so they come back as the widest.

    def _tissue(self, plan: PatchPlan) -> tuple[np.ndarray, Target, np.ndarray]:
        image, _ = self._dataset.read(plan.source, plan.row)
        patch, _ = self.augment(image, [], plan.seed, whole=True)
        owner = np.full((1, 1), self._dataset.patch_class(plan.source, plan.row), np.uint8)
        return patch, _whole(owner), owner

    def _empty(self, structure: str) -> Target:
        """What a patch without objects teaches: the size of a target, for a rank that has none."""
        if structure == TISSUE:
            return _whole(np.zeros((1, 1), np.uint8))
        side = self._data.side_px
        return self._teacher.target(np.zeros((side, side), np.int32), structure, self._data.mpp)


def _whole(owner: np.ndarray) -> Target:
    """The one class of a patch of tissue."""
    return Target(classes=owner, weights=np.ones((1, 1), np.float32))


def middle_of(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The part of that height and width in the middle of a map; all of it if it is no larger."""
    top, left = ((whole - part) // 2 for whole, part in zip(array.shape, shape, strict=True))
    return array[top : top + shape[0], left : left + shape[1]]


def mixed_loader(
    dataset: MetaDataset, run: Run, sampler: MixedSampler, *, place: Place, first_step: int = 0
) -> Iterator[MixedBatch]:
    """This rank's share of each step, without end; the run's network says what is learnt.

    Raises:
        ConfigError: If the network learns no objects.
    """
    if not isinstance(run.network, Teacher):
        raise ConfigError(f"network {public_name(run.network)!r} learns no objects; name one that does, as cerberus")
    return prefetch(sampler.steps(first_step, place), _MixedCutter(dataset, run.data, run.network).cut)
