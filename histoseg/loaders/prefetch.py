"""Patches made ahead of time by threads; OpenCV and NumPy release Python's lock while they compute."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from threading import local
from typing import TypeVar

import cv2
import numpy as np

from histoseg.machine import available_cpus
from histoseg.runs.config import Data
from histoseg.shards.reader import MetaDataset
from histoseg.types import Image, Patches

STEPS_AHEAD = 3
MOST_THREADS = 16  # Each holds a step: at the scale `paper` 64 patches of 768 px, 0.15 GB, so 3 GB in all.
Drawn = tuple[np.ndarray, tuple[np.ndarray, ...]]  # A patch and its maps
Plan = TypeVar("Plan")
Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class PatchPlan:
    """One patch to cut: its source, its stored sample and its random seed."""

    source: str
    row: int
    seed: int


class Cutter:
    """Cuts and augments patches from a meta-dataset; each thread has augmentations of its own."""

    def __init__(self, dataset: MetaDataset, data: Data) -> None:
        from histoseg.loaders.augment import Augment  # albumentations is not in the small install.

        cv2.setNumThreads(1)  # The threads of the loader are the parallelism.
        self._dataset = dataset
        self._data = data
        self._new_augment = partial(Augment, data)
        self._local = local()

    def augment(self, image: Image, maps: Sequence[np.ndarray], seed: int, *, whole: bool = False) -> Drawn:
        """A patch of an image and of its maps; `whole` where the image has one class."""
        if not hasattr(self._local, "augments"):
            self._local.augments = {is_whole: self._new_augment(whole=is_whole) for is_whole in (False, True)}
        drawn: Drawn = self._local.augments[whole](image, maps, seed)
        return drawn

    def keys(self, plans: Sequence[PatchPlan]) -> tuple[str, ...]:
        """The stored samples that patches are cut from."""
        return tuple(self._dataset.sources[plan.source].samples.key[plan.row] for plan in plans)


class PatchCutter(Cutter):
    """Cuts patches with their semantic maps."""

    def cut(self, plans: Sequence[PatchPlan]) -> Patches:
        """The patches of some plans, in order."""
        drawn = [self._cut(plan) for plan in plans]
        size = self._data.side_px
        return Patches(
            images=stacked([image for image, _ in drawn], (size, size, 3)),
            semantic_maps=stacked([label for _, label in drawn], (size, size)),
            tasks=tuple(plan.source for plan in plans),
            keys=self.keys(plans),
        )

    def _cut(self, plan: PatchPlan) -> tuple[np.ndarray, np.ndarray]:
        image, semantic_map = self._dataset.read(plan.source, plan.row)
        patch, (label,) = self.augment(image, [semantic_map], plan.seed)
        return patch, label


def stacked(arrays: Sequence[np.ndarray], shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
    """Arrays of that shape and type as one array; also of none."""
    return np.stack(arrays) if arrays else np.empty((0, *shape), dtype)


def prefetch(
    plans: Iterator[Plan], make: Callable[[Plan], Made], threads: int = 0, ahead: int = STEPS_AHEAD
) -> Iterator[Made]:
    """The result of `make` for each plan, in order; some steps are always made ahead.

    `make` is called by several threads at once, 0 of which mean `num_threads()`; `ahead` results are ready or queued
    besides those that they are making. The threads end when the iterator is closed or forgotten.
    """
    threads = threads or num_threads()
    pending: deque[Future[Made]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="loader")
    try:
        pending.extend(pool.submit(make, plan) for plan in islice(plans, ahead + threads))
        while pending:
            ready = pending.popleft().result()
            pending.extend(pool.submit(make, plan) for plan in islice(plans, 1))
            yield ready
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def num_threads() -> int:
    """The cores of this rank but one, which trains; ranks on one machine share its cores equally."""
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # Ray Train and torchrun set it.
    return min(MOST_THREADS, max(1, available_cpus() // ranks - 1))
