"""Panoptic quality of instance maps: which predicted object is which true one, and how well they agree.

Objects match if their IoU exceeds 0.5, which makes the matching unique (Kirillov et al. 2019, Sec. 4.1). All maps are
read once: pixels that follow each other are mostly of the same pair of objects, so runs of equal pairs are counted, and
cost grows with pixels, not with objects.

Scores differ by how images and classes are averaged, and by what has no part in a mean: `pq_per_image_mean`, `mpq` and
`mpq_plus` say how, and give the other readings in use.
Maps of different shapes, negative ids, and classes that are too few, too many or unknown are a ValueError.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, UInt8

from histoseg.types import InstanceMap

MIN_IOU = 0.5  # Kirillov et al. 2019, Sec. 4.1; a match has more.


@dataclass(frozen=True, kw_only=True)
class PanopticCounts:
    """What panoptic quality is made of. Counts of several images add up.

    Attributes:
        tp: Matched pairs.
        fp: Predicted objects without a match.
        fn: True objects without a match.
        sum_iou: IoU of the matched pairs together.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    sum_iou: float = 0.0

    def __add__(self, other: "PanopticCounts") -> "PanopticCounts":
        return PanopticCounts(
            tp=self.tp + other.tp,
            fp=self.fp + other.fp,
            fn=self.fn + other.fn,
            sum_iou=self.sum_iou + other.sum_iou,
        )

    @property
    def dq(self) -> float:
        """Detection quality, TP / (TP + FP/2 + FN/2); nan if truth and prediction are both without objects."""
        return _divide(self.tp, self.tp + self.fp / 2 + self.fn / 2)

    @property
    def sq(self) -> float:
        """Segmentation quality, the mean IoU of matched pairs; nan without any."""
        return _divide(self.sum_iou, self.tp)

    @property
    def pq(self) -> float:
        """Panoptic quality (Kirillov et al. 2019, Eq. 1); nan if truth and prediction are both without objects.

        HoVer-Net's code adds 1e-6 to the denominators, so that it has 0 there. We do not.
        """
        return _divide(self.sum_iou, self.tp + self.fp / 2 + self.fn / 2)


@dataclass(frozen=True, kw_only=True)
class Match:
    """Which objects of two maps are the same.

    Attributes:
        true_ids: All true objects, ascending.
        pred_ids: All predicted objects, ascending.
        pairs: Positions in `true_ids` (first column) and `pred_ids` (second) of each matched pair.
        ious: Of each matched pair.
    """

    true_ids: Int32[np.ndarray, " T"]
    pred_ids: Int32[np.ndarray, " P"]
    pairs: Int64[np.ndarray, "M 2"]
    ious: Float64[np.ndarray, " M"]


def match(true: InstanceMap, pred: InstanceMap) -> Match:
    """The pairs of a true and a predicted object whose IoU exceeds 0.5."""
    overlaps = _overlaps(true, pred)
    ious = overlaps.shared / overlaps.union
    is_match = ious > MIN_IOU
    return Match(
        true_ids=overlaps.true_ids,
        pred_ids=overlaps.pred_ids,
        pairs=overlaps.pairs[is_match],
        ious=ious[is_match],
    )


def count_panoptic(true: InstanceMap, pred: InstanceMap) -> PanopticCounts:
    """The counts of one image over all objects, their classes ignored."""
    found = match(true, pred)
    tp = len(found.pairs)
    fp, fn = len(found.pred_ids) - tp, len(found.true_ids) - tp
    return PanopticCounts(tp=tp, fp=fp, fn=fn, sum_iou=float(found.ious.sum()))


def count_panoptic_by_class(
    true: InstanceMap,
    true_classes: UInt8[np.ndarray, " T"],
    pred: InstanceMap,
    pred_classes: UInt8[np.ndarray, " P"],
    num_classes: int,
) -> tuple[PanopticCounts, ...]:
    """The counts of one image for each class from 1 to `num_classes` - 1, in this order.

    Only objects of one class match, as if there were no others (Graham et al. 2023, Cerberus, Sec. 4.2). An object of
    class 0, the background, counts nowhere. Classes are those of objects in ascending order of ids, as
    `Objects.classes` and `vote_types` have them.
    """
    found = match(true, pred)
    _refuse_classes("true_classes", true_classes, len(found.true_ids), num_classes)
    _refuse_classes("pred_classes", pred_classes, len(found.pred_ids), num_classes)
    class_of_pair = true_classes[found.pairs[:, 0]]
    is_same = class_of_pair == pred_classes[found.pairs[:, 1]]
    class_of_pair, ious = class_of_pair[is_same], found.ious[is_same]
    num_pairs, num_true, num_pred = (
        np.bincount(classes, minlength=num_classes) for classes in (class_of_pair, true_classes, pred_classes)
    )
    sums = np.bincount(class_of_pair, weights=ious, minlength=num_classes)
    return tuple(
        PanopticCounts(
            tp=int(num_pairs[i]),
            fp=int(num_pred[i] - num_pairs[i]),
            fn=int(num_true[i] - num_pairs[i]),
            sum_iou=float(sums[i]),
        )
        for i in range(1, num_classes)
    )


def _refuse_classes(name: str, classes: UInt8[np.ndarray, " N"], num_objects: int, num_classes: int) -> None:
    if len(classes) != num_objects:
        raise ValueError(f"{name} has {len(classes)} entries, but the map has {num_objects} objects")
    if (largest := int(classes.max(initial=0))) >= num_classes:
        raise ValueError(f"{name} holds class {largest}; classes are 0 to {num_classes - 1}")


# Which images, or classes of an image, have no part in a mean: those without an object in the truth, those without any
# in truth and prediction, or none, so that what has no PQ counts as 0. Papers differ (docs/protocols-cerberus.md).
LeftOut = Literal["no truth", "no object", "none"]


def pq_per_image_mean(images: Iterable[PanopticCounts], *, left_out: LeftOut = "no object") -> float:
    """Mean over images of each image's PQ (Graham et al. 2023, Cerberus, Sec. 4.2: binary PQ).

    The paper does not say what becomes of an image without objects in truth and prediction: here it has no PQ.

    It is nan if every image is left out.
    """
    return _mean_defined(_quality(counts, left_out) for counts in images)


def mpq(
    images: Sequence[Sequence[PanopticCounts]],
    *,
    left_out: LeftOut = "no truth",
    first: Literal["images", "classes"] = "images",
) -> float:
    """Mean over classes of the mean PQ over those images whose truth has the class (Cerberus, Sec. 4.2).

    False positives in other images go unpunished, which `mpq_plus` mends.

    Args:
        images: For each image the counts by class, from `count_panoptic_by_class`.
        left_out: Which classes of an image have no part in its mean.
        first: What is averaged first: the images of each class, or the classes of each image, as PanNuke's code does
            (Gamper et al. 2020).

    Returns:
        A value in [0, 1]; a class that is left out in every image, or an image all of whose classes are, has no part
        in the mean; nan if that is all.
    """
    groups = zip(*images, strict=True) if first == "images" else images
    return _mean_defined(_mean_defined(_quality(counts, left_out) for counts in group) for group in groups)


def mpq_plus(images: Sequence[Sequence[PanopticCounts]], *, left_out: LeftOut = "no object") -> float:
    """Mean over classes of the PQ of all images' counts together (Cerberus, Sec. 4.2: mPQ+).

    Args:
        images: For each image the counts by class, from `count_panoptic_by_class`.
        left_out: Which classes have no part in the mean; "none" as in the code of the CoNIC challenge (Graham et al.
            2024), where a class that is absent everywhere scores 0.

    Returns:
        A value in [0, 1]; nan if every class is left out.
    """
    by_class = zip(*images, strict=True)
    return _mean_defined(_quality(sum(counts, PanopticCounts()), left_out) for counts in by_class)


def _quality(counts: PanopticCounts, left_out: LeftOut) -> float:
    """The PQ of some counts; nan if they have no part in a mean."""
    if left_out == "no truth" and counts.tp + counts.fn == 0:
        return float("nan")
    return 0.0 if left_out == "none" and np.isnan(counts.pq) else counts.pq


def aji(true: InstanceMap, pred: InstanceMap) -> float:
    """Aggregated Jaccard index (Kumar et al. 2017, Algorithm 1), as HoVer-Net's code computes it.

    Each true object is paired with the predicted one of highest IoU, even if another has it too. Shared pixels of
    all pairs are divided by their unions and the areas of what is in no pair.

    It is nan if truth and prediction are both without objects.
    """
    overlaps = _overlaps(true, pred)
    ious = overlaps.shared / overlaps.union
    # By true object, best IoU first, and of equals the lowest predicted id.
    order = np.lexsort((overlaps.pairs[:, 1], -ious, overlaps.pairs[:, 0]))
    paired_true, first = np.unique(overlaps.pairs[order, 0], return_index=True)
    best = order[first]
    left_out = overlaps.true_areas.sum() - overlaps.true_areas[paired_true].sum()
    left_out += overlaps.pred_areas.sum() - overlaps.pred_areas[np.unique(overlaps.pairs[best, 1])].sum()
    return _divide(float(overlaps.shared[best].sum()), float(overlaps.union[best].sum() + left_out))


@dataclass(frozen=True, kw_only=True)
class _Overlaps:
    """All pairs of a true and a predicted object that share a pixel."""

    true_ids: Int32[np.ndarray, " T"]
    pred_ids: Int32[np.ndarray, " P"]
    true_areas: Int64[np.ndarray, " T"]
    pred_areas: Int64[np.ndarray, " P"]
    pairs: Int64[np.ndarray, "N 2"]
    shared: Int64[np.ndarray, " N"]

    @property
    def union(self) -> Int64[np.ndarray, " N"]:
        """Pixels of either object of each pair."""
        areas = self.true_areas[self.pairs[:, 0]] + self.pred_areas[self.pairs[:, 1]]
        return np.asarray(areas - self.shared)


def _overlaps(true: InstanceMap, pred: InstanceMap) -> _Overlaps:
    if true.shape != pred.shape:
        raise ValueError(f"truth is {true.shape} but prediction {pred.shape}; they must be of one shape")
    pair_true, pair_pred, num_pixels = _count_pairs(true.ravel(), pred.ravel())
    true_ids, true_areas, true_at = _areas(pair_true, num_pixels)
    pred_ids, pred_areas, pred_at = _areas(pair_pred, num_pixels)
    is_object: Bool[np.ndarray, " N"] = (pair_true > 0) & (pair_pred > 0)
    return _Overlaps(
        true_ids=true_ids,
        pred_ids=pred_ids,
        true_areas=true_areas,
        pred_areas=pred_areas,
        pairs=np.stack([true_at[is_object], pred_at[is_object]], axis=1),
        shared=num_pixels[is_object],
    )


def _count_pairs(
    true: Int32[np.ndarray, " S"], pred: Int32[np.ndarray, " S"]
) -> tuple[Int32[np.ndarray, " N"], Int32[np.ndarray, " N"], Int64[np.ndarray, " N"]]:
    """The pairs of ids that some pixel has, background included, and how many pixels have them."""
    is_start = np.ones(true.size, bool)
    is_start[1:] = (true[1:] != true[:-1]) | (pred[1:] != pred[:-1])
    starts = np.flatnonzero(is_start)
    lengths = np.diff(starts, append=true.size)
    run_true, run_pred = true[starts], pred[starts]
    if (lowest := min(run_true.min(initial=0), run_pred.min(initial=0))) < 0:
        raise ValueError(f"id {lowest} is negative; ids are positive, and 0 is background")
    codes = run_true.astype(np.int64) << 32 | run_pred
    order = np.argsort(codes)
    codes = codes[order]
    firsts = np.flatnonzero(np.diff(codes, prepend=-1))
    num_pixels = np.add.reduceat(lengths[order], firsts) if firsts.size else np.zeros(0, np.int64)
    return (codes[firsts] >> 32).astype(np.int32), (codes[firsts] & 0xFFFFFFFF).astype(np.int32), num_pixels


def _areas(
    ids_of_pairs: Int32[np.ndarray, " N"], num_pixels: Int64[np.ndarray, " N"]
) -> tuple[Int32[np.ndarray, " I"], Int64[np.ndarray, " I"], Int64[np.ndarray, " N"]]:
    """The ids but background, ascending, their areas, and for each pair the position of its id (-1: background)."""
    ids, positions = np.unique(ids_of_pairs, return_inverse=True)
    areas = np.zeros(len(ids), np.int64)
    np.add.at(areas, positions, num_pixels)
    num_background = int((ids == 0).sum())
    return ids[num_background:], areas[num_background:], positions - num_background


def _divide(dividend: int | float, divisor: int | float) -> float:
    return dividend / divisor if divisor > 0 else float("nan")


def _mean_defined(values: Iterable[float]) -> float:
    """Mean of what is not nan; nan if everything is."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
