"""The annotated objects of some images, by the patches about their middles: what features are computed of."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Int64

from histoseg.errors import DataError
from histoseg.maps.objects import find_objects, typed_objects
from histoseg.representation.patches import ObjectPatches
from histoseg.shards.reader import MetaDataset
from histoseg.types import Image


@dataclass(frozen=True, kw_only=True)
class AnnotatedObjects:
    """The objects of some images of a source whose class is known.

    Attributes:
        classes: From 1 on, of the objects of each image in the order of the patches.
    """

    patches: ObjectPatches
    classes: Sequence[Int64[np.ndarray, " _"]]


def annotated_objects(
    dataset: MetaDataset, source: str, images: Iterable[Sequence[int]], share: Callable[[int], Iterable[int]]
) -> AnnotatedObjects:
    """The objects of images, each given by the rows that it is stored in; `share` is that of `ObjectPatches`.

    Raises:
        DataError: If the source has no objects.
    """
    index = dataset.sources[source]
    rows_of = {index.samples.image[rows[0]]: rows for rows in images}
    centres, every = {}, []
    for key, rows in rows_of.items():
        sample = dataset.whole_image(source, rows)
        if sample.instance_map is None:
            raise DataError(f"{source} has no objects, so there are no patches about them; choose a source that has")
        objects, classes = typed_objects(sample.instance_map, sample.semantic_map, index.task.num_classes)
        centres[key] = find_objects(objects).centroids
        every.append(classes.astype(np.int64))
    read = partial(_read, dataset, source, rows_of)
    patches = ObjectPatches(source=source, index=index.checksum, centres=centres, read=read, share=share)
    return AnnotatedObjects(patches=patches, classes=every)


def _read(dataset: MetaDataset, source: str, rows_of: Mapping[str, Sequence[int]], key: str) -> Image:
    return dataset.whole_image(source, rows_of[key]).image
