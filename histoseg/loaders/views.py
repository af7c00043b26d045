"""Pairs of views for contrastive learning: the same place of an image, drawn and augmented twice.

Chen et al. 2020 (SimCLR), Sec. 2.1 and App. A, crop 8 to 100 % of an image and resize it. In histology the size of a
nucleus says what it is, so here both views keep the scale: each is a patch of `data.tissue_px` at a random place of one
region, 1.25 times as large on each side, turned, mirrored, stretched, blurred and coloured as all training patches are.
Before they are turned, two views share at least 56 % of their area, (1 - 0.25)².
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from histoseg.loaders.batches import BatchSampler
from histoseg.loaders.prefetch import Cutter, PatchPlan, prefetch, stacked
from histoseg.runs.config import Data
from histoseg.shards.reader import MetaDataset
from histoseg.types import Image, Place, ViewBatch

REGION = 1.25  # Side of the region that both views are cut from, in sides of a view


class _ViewCutter(Cutter):
    """Cuts two views for each plan."""

    def cut_twice(self, plan: PatchPlan) -> tuple[np.ndarray, np.ndarray]:
        """Two views of one place."""
        image, _ = self._dataset.read(plan.source, plan.row)
        where, *seeds = np.random.default_rng(plan.seed).integers(2**32, size=3).tolist()
        region = draw_region(image, round(REGION * self._data.tissue_px), where)
        first, second = (self.augment(region, [], seed, whole=True)[0] for seed in seeds)
        return first, second


def draw_region(image: Image, side_px: int, seed: int) -> UInt8[np.ndarray, "_ _ 3"]:
    """A square of an image at a random place; as much of it as there is."""
    rng = np.random.default_rng(seed)
    top, left = (int(rng.integers(max(0, side - side_px) + 1)) for side in image.shape[:2])
    return image[top : top + side_px, left : left + side_px]


def view_loader(
    dataset: MetaDataset, data: Data, sampler: BatchSampler, *, place: Place, first_step: int = 0
) -> Iterator[ViewBatch]:
    """This rank's share of each step, without end: every world-size-th pair of the step."""
    cutter, size = _ViewCutter(dataset, data), (data.tissue_px, data.tissue_px, 3)

    def make(plans: list[PatchPlan]) -> ViewBatch:
        pairs = [cutter.cut_twice(plan) for plan in plans]
        return ViewBatch(
            first=stacked([first for first, _ in pairs], size),
            second=stacked([second for _, second in pairs], size),
            numbers=np.arange(place.rank, sampler.batch, place.world_size),
            keys=cutter.keys(plans),
            global_size=sampler.batch,
        )

    return prefetch(sampler.steps(first_step, place), make)
