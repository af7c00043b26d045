"""Images with annotated objects: which are scored, and which of them a rank predicts."""

import logging
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from histoseg.errors import DataError
from histoseg.runs.config import Select
from histoseg.shards.reader import MetaDataset
from histoseg.structures import TISSUE
from histoseg.types import InstanceMap, Sample, Split

if TYPE_CHECKING:
    from histoseg.training.process import Process

logger = logging.getLogger(__name__)

SAY_EVERY_S = 10.0


def images_with_objects(dataset: MetaDataset, select: Select) -> Iterator[tuple[Split, str, Sequence[int]]]:
    """Split, source and rows of every image with annotated objects."""
    for split in select.splits:
        for source in select.sources:
            if dataset.sources[source].task.structure not in ("", TISSUE):
                yield from ((split, source, rows) for rows in dataset.images(source, split).values())


def annotated(sample: Sample) -> InstanceMap:
    """The annotated objects of an image."""
    if sample.instance_map is None:
        raise DataError(f"{sample.key} has no instance map; prepare its source again")
    return sample.instance_map


def own_share(count: int, label: str, process: "Process") -> Iterator[int]:
    """This rank's part of as many images, with a line now and then that says how far it is."""
    begin = said = time.monotonic()
    for i in range(process.place.rank, count, process.place.world_size):
        yield i
        now = time.monotonic()
        if process.leads and (now - said >= SAY_EVERY_S or i + process.place.world_size >= count):
            said = now
            logger.info("%s  image %d/%d  eta %.0f s", label, i + 1, count, (now - begin) / (i + 1) * (count - i - 1))
