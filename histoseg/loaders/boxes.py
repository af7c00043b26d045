"""Patches with the boxes of their objects."""

from collections.abc import Iterator, Sequence
from threading import local

import cv2

from histoseg.loaders.batches import BatchSampler
from histoseg.loaders.prefetch import PatchPlan, prefetch, stacked
from histoseg.maps.boxes import areas, chosen, cut
from histoseg.runs.config import Data
from histoseg.shards.reader import MetaDataset
from histoseg.types import BoxBatch, Boxes, Image, Place

LEAST_SHOWN = 0.5  # Of an object's box; of a cell of which a patch shows less, it does not show what kind it is.


class BoxCutter:
    """Cuts and augments patches with boxes; each thread has augmentations of its own."""

    def __init__(self, dataset: MetaDataset, data: Data) -> None:
        cv2.setNumThreads(1)  # The threads of the loader are the parallelism.
        self._dataset = dataset
        self._data = data
        self._local = local()

    def cut(self, plans: Sequence[PatchPlan], global_size: int) -> BoxBatch:
        """The patches of some plans, in order."""
        drawn = [self._cut(plan) for plan in plans]
        size = self._data.side_px
        return BoxBatch(
            images=stacked([image for image, _, _ in drawn], (size, size, 3)),
            boxes=tuple(shown for _, shown, _ in drawn),
            hidden=tuple(hidden for _, _, hidden in drawn),
            keys=tuple(self._dataset.sources[plan.source].samples.key[plan.row] for plan in plans),
            global_size=global_size,
        )

    def _cut(self, plan: PatchPlan) -> tuple[Image, Boxes, Boxes]:
        from histoseg.loaders.augment import BoxAugment  # albumentations is not in the small install.

        if not hasattr(self._local, "augment"):
            self._local.augment = BoxAugment(self._data)
        image, _ = self._dataset.read(plan.source, plan.row)
        boxes = self._dataset.read_boxes(plan.source, plan.row)
        patch, corners = self._local.augment(image, boxes.corners, plan.seed)
        return patch, *divide(Boxes(corners=corners, classes=boxes.classes), (patch.shape[0], patch.shape[1]))


def divide(boxes: Boxes, size: tuple[int, int]) -> tuple[Boxes, Boxes]:
    """The boxes that a patch of that height and width shows at least LEAST_SHOWN of, and those that it shows less of.

    Both are cut at its border; those that it shows nothing of are left out.
    """
    inside = cut(boxes.corners, size)
    share = areas(inside) / areas(boxes.corners)
    found = Boxes(corners=inside, classes=boxes.classes)
    return chosen(found, share >= LEAST_SHOWN), chosen(found, (share > 0) & (share < LEAST_SHOWN))


def box_loader(
    dataset: MetaDataset, data: Data, sampler: BatchSampler, *, place: Place, first_step: int = 0
) -> Iterator[BoxBatch]:
    """This rank's share of each step, without end: every world-size-th patch of the step."""
    cutter = BoxCutter(dataset, data)
    return prefetch(sampler.steps(first_step, place), lambda plans: cutter.cut(plans, sampler.batch))
