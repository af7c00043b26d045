"""What to check in a source that was prepared: classes and splits without images, pixels without labels."""

from histoseg.shards.index import SourceIndex
from histoseg.types import IGNORE, SPLITS

MANY_LEFT_OUT = 0.5  # Of all pixels: more is then left out than learnt from.


def find_doubts(index: SourceIndex) -> list[str]:
    """One line for each thing to check."""
    return [*_doubts_about_labels(index), *_doubts_about_splits(index)]


def _doubts_about_labels(index: SourceIndex) -> list[str]:
    samples, source = index.samples, index.task.name
    pixels = index.class_pixels()
    num_pixels = sum(height * width for height, width in zip(samples.height, samples.width, strict=True))
    left_out = 1 - int(pixels.sum()) / num_pixels
    unlabelled = f"{left_out:.0%} of its pixels are {IGNORE}, which means not labelled"
    remedy = "if that is wrong, map the values in `read`"
    if unseen := [name for name, count in zip(index.task.classes, pixels.tolist(), strict=True) if not count]:
        also = f", and {unlabelled}" if left_out else ""
        return [f"{source}: no pixel is {', '.join(unseen)}{also}; {remedy}"]
    return [f"{source}: {unlabelled}; {remedy}"] if left_out > MANY_LEFT_OUT else []


def _doubts_about_splits(index: SourceIndex) -> list[str]:
    empty = [split for split in SPLITS if not len(index.rows(split))]
    if not 0 < len(empty) < len(SPLITS):  # A source divided into folds has none of the three splits.
        return []
    patients = len(set(index.samples.patient))
    return [f"{index.task.name}: too few patients ({patients}) for {' and '.join(empty)}; a new task needs three"]
