"""Segmented slides against the truth of some regions: what was stitched is drawn as the truth is, and compared.

Objects are drawn at the resolution of the truth: a pixel belongs to an object if its middle lies within the outline, as
for truth in outlines. Truth and prediction are cut in the same way by the border of the region and by what is not to be
scored. So a part of an object is an object, however small; where annotators left out objects that the border cuts, they
count as predicted wrongly, unless these places are marked as not scored.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from histoseg.files.folders import plain
from histoseg.files.regions import Region, paint
from histoseg.metrics.iou import confusion
from histoseg.metrics.panoptic import PanopticCounts, count_panoptic
from histoseg.records.schema import Counts, ScoredImage
from histoseg.scoring._truth_region import TruthRegion, moved
from histoseg.scoring.objects import count_types, summarise
from histoseg.slides.objects import ObjectFile
from histoseg.slides.outlined import region_of
from histoseg.types import Split

SPLIT: Split = "test"
# Names of a single region's scores, and what the same are called over several
OF_REGION = {"pq": "pq_pooled", "dq": "dq_pooled", "sq": "sq_pooled", "dice": "dice_pooled", "mpq": "mpq"}
OF_OTSU = "otsu"  # Scores that compare with Otsu's threshold, for which the image would be needed


@dataclass(frozen=True, kw_only=True)
class ScoredRegion:
    """A region with its scores.

    Attributes:
        classes: Those of the counts by class; empty where truth or model have none.
    """

    truth: TruthRegion
    image: ScoredImage
    classes: tuple[str, ...]

    @property
    def scores(self) -> dict[str, float]:
        """PQ, DQ, SQ, Dice and, with classes, mPQ of this region alone."""
        found, structure = pooled_scores([self]), self.truth.structure
        return {name: found[key] for name, short in OF_REGION.items() if (key := f"{structure}.{short}") in found}


def score_region(file: ObjectFile, truth: TruthRegion, model_classes: Sequence[str]) -> ScoredRegion:
    """The prediction in a region against its truth; classes are those of the truth, then others that the model knows.

    Names of classes are the same if their letters and digits are.
    """
    regions, names = _predicted(file, truth)
    predicted = paint(regions, (truth.instance_map.shape[0], truth.instance_map.shape[1])).instance_map * truth.known
    true = truth.instance_map * truth.known
    pixels = confusion((true > 0).astype(np.uint8), (predicted > 0).astype(np.uint8), 2)
    classes: tuple[str, ...] = ()
    by_class: tuple[PanopticCounts, ...] = ()
    if truth.type_map is not None and model_classes:
        classes = _all_classes(truth.classes, model_classes)
        numbers = {plain(name): number for number, name in enumerate(classes)}
        kinds = np.array([numbers[plain(name)] if name else 0 for name in names], np.uint8)
        by_class = count_types(true, truth.type_map, predicted, kinds, len(classes))
    image = ScoredImage(
        split=SPLIT,
        source=truth.slide,
        key=truth.name,
        patient=truth.slide,
        structure=truth.structure,
        objects=_counts(count_panoptic(true, predicted)),
        confusion=tuple(map(tuple, pixels.tolist())),
        by_class=tuple(map(_counts, by_class)),
    )
    return ScoredRegion(truth=truth, image=image, classes=classes[1:])


def _all_classes(true: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The classes of the truth in the model's spelling, then others of the model."""
    spelt = {plain(name): name for name in known}
    return tuple(dict.fromkeys([*(spelt.get(plain(name), name) for name in true), *known]))


def _predicted(file: ObjectFile, truth: TruthRegion) -> tuple[list[Region], list[str | None]]:
    """The objects that meet the region, in pixels of its maps, and their classes."""
    found = file.read(box=truth.box, structures=[truth.structure], columns=["class", "geometry"])
    origin = (truth.box[0], truth.box[1])
    regions = [moved(region_of(geometry), origin, truth.scale) for geometry in found["geometry"].to_pylist()]
    return regions, found["class"].to_pylist()


def _counts(counts: PanopticCounts) -> Counts:
    return Counts(tp=counts.tp, fp=counts.fp, fn=counts.fn, sum_iou=counts.sum_iou)


def pooled_scores(regions: Sequence[ScoredRegion]) -> dict[str, float]:
    """Scores over all regions as "structure.score": means over regions, and of the counts of all regions together."""
    images = [image for image, _ in _same_classes(regions)]
    scores, _ = summarise(images, {SPLIT: ""})
    named = {name.removeprefix("."): score for name, score in scores.items()}
    return {name: score for name, score in named.items() if OF_OTSU not in name}


def pq_by_class(regions: Sequence[ScoredRegion]) -> dict[str, float]:
    """PQ of each class over the counts of all regions together, as "structure.class"."""
    found: dict[str, PanopticCounts] = {}
    for image, classes in _same_classes(regions):
        for name, counts in zip(classes, image.by_class, strict=True):
            key = f"{image.structure}.{name}"
            found[key] = found.get(key, PanopticCounts()) + PanopticCounts(**counts.model_dump())
    return {name: counts.pq for name, counts in found.items()}


def _same_classes(regions: Sequence[ScoredRegion]) -> Iterator[tuple[ScoredImage, tuple[str, ...]]]:
    """The images with their counts by class in one order, that of all classes of their structure."""
    orders: dict[str, dict[str, None]] = {}
    for region in regions:
        orders.setdefault(region.truth.structure, {}).update(dict.fromkeys(region.classes))
    nothing = Counts(tp=0, fp=0, fn=0, sum_iou=0.0)
    for region in regions:
        own = dict(zip(region.classes, region.image.by_class, strict=True))
        order = tuple(orders[region.truth.structure]) if own else ()
        by_class = tuple(own.get(name, nothing) for name in order)
        yield region.image.model_copy(update={"by_class": by_class}), order
