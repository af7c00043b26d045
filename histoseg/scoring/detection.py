"""Boxes found in whole images: FROC as DigestPath 2019 has it, and average precision.

Where no scored image is without objects, wrong detections are those in images with objects, as FROC is usually defined
(Bunch et al. 1977); `sizes` tells how many images without objects there were.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from jaxtyping import Float32, Float64

from histoseg.errors import DataError
from histoseg.maps.boxes import chosen
from histoseg.maps.colours import CLASS_COLOURS, to_rgb
from histoseg.maps.windows import MarginWindows
from histoseg.metrics.froc import LEVELS, MIN_IOU, detection_precision, matched_iou, recalls_at_levels, threshold_at
from histoseg.records.schema import Counts, Panel, ScoredImage
from histoseg.runs.config import Run, Select, require
from histoseg.scoring._pictures import PANEL_PX, PANELS, Pictures
from histoseg.shards.reader import MetaDataset
from histoseg.types import Boxes, Image, Sample, Split

if TYPE_CHECKING:
    from histoseg.models.network import Network
    from histoseg.scoring._protocol import Scores
    from histoseg.training.process import Process

SHOWN_LEVEL = 1  # Pictures and counts have the boxes above the threshold of so many wrong ones in an image.
Place = tuple[Split, str, Sequence[int]]  # Split, source and rows of an image


@dataclass(frozen=True, kw_only=True)
class Seen:
    """An image's detections, from the highest score down.

    Attributes:
        ious: With the true box that each matches; 0 where it matches none.
    """

    num_true: int
    scores: Float64[np.ndarray, " N"]
    ious: Float64[np.ndarray, " N"]


@dataclass(frozen=True, kw_only=True)
class DetectedBoxes(MarginWindows):
    """Scores of boxes; its other fields are the windows by which whole images are predicted."""

    margin_px: int = 64  # More than an object of a detector: one at the border of a window's inner part is seen whole.
    min_iou: float = MIN_IOU  # With a true box, from which on a detection matches

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.min_iou <= 1, "evaluator.min_iou", self.min_iou, "above 0 and at most 1")

    def validate(self, network: "Network", run: Run, dataset: MetaDataset, select: Select, process: "Process") -> float:
        """FROC."""
        return summarise(self._seen(network, run, dataset, _images(dataset, select), process))["froc"]

    def score(
        self, network: "Network", run: Run, dataset: MetaDataset, process: "Process", pictures: Pictures
    ) -> "Scores":
        """FROC, the recall at each of its levels, and average precision."""
        from histoseg.scoring._protocol import Scores

        places = _images(dataset, run.score)
        seen = self._seen(network, run, dataset, places, process)
        scores, threshold = summarise(seen), shown_threshold(seen)
        return Scores(
            scores=scores,
            headline=f"FROC {scores['froc']:.3f}, AP {scores['ap']:.3f}",
            sizes={
                "images": len(seen),
                "images_without_objects": sum(image.num_true == 0 for image in seen),
                "objects": sum(image.num_true for image in seen),
            },
            images=tuple(_scored(dataset, *pair, threshold) for pair in zip(places, seen, strict=True)),
            panels=tuple(self._panels(network, run, dataset, pictures, threshold)) if process.leads else (),
        )

    def _seen(
        self, network: "Network", run: Run, dataset: MetaDataset, places: Sequence[Place], process: "Process"
    ) -> list[Seen]:
        """The detections of all images; each rank predicts its share, and all get all."""
        own = {
            i: self._look(network, run, dataset.whole_image(*places[i][1:]))
            for i in range(process.place.rank, len(places), process.place.world_size)
        }
        return _shared(own, len(places), process)

    def _look(self, network: "Network", run: Run, sample: Sample) -> Seen:
        from histoseg.models.spec import detector_of

        found, true = detector_of(run).detect(network, sample.image, self), _annotated(sample)
        ious = matched_iou((true.corners, true.classes), (found.corners, found.classes), self.min_iou)
        return Seen(num_true=len(true.classes), scores=found.scores.astype(np.float64), ious=ious.astype(np.float64))

    def _panels(
        self, network: "Network", run: Run, dataset: MetaDataset, pictures: Pictures, threshold: float
    ) -> Iterator[Panel]:
        """The first images with objects: boxes that are annotated, and those that were found."""
        from histoseg.models.spec import detector_of

        samples = (dataset.whole_image(source, rows) for _, source, rows in _images(dataset, run.score))
        with_objects = (sample for sample in samples if len(_annotated(sample).classes))
        for sample, _ in zip(with_objects, range(PANELS), strict=False):
            found = detector_of(run).detect(network, sample.image, self)
            kept = chosen(Boxes(corners=found.corners, classes=found.classes), found.scores > threshold)
            drawn = {"truth": boxed(sample.image, _annotated(sample)), "prediction": boxed(sample.image, kept)}
            keys = pictures.put(sample.key, {"image": sample.image, **drawn})
            yield Panel(
                source=run.score.sources[0],
                key=sample.key,
                image=keys["image"],
                truth=keys["truth"],
                prediction=keys["prediction"],
            )


def _images(dataset: MetaDataset, select: Select) -> list[Place]:
    """Every image of some splits."""
    return [
        (split, source, rows)
        for split in select.splits
        for source in select.sources
        for rows in dataset.images(source, split).values()
    ]


def _annotated(sample: Sample) -> Boxes:
    if sample.boxes is None:
        raise DataError(f"{sample.key} has no boxes; name a source of kind 'boxes' to be scored")
    return sample.boxes


def _shared(own: dict[int, Seen], count: int, process: "Process") -> list[Seen]:
    """What all ranks have seen, by the number of the image."""
    import torch

    from histoseg.distributed import sum_over_ranks

    sizes = np.zeros((count, 2), np.int64)
    for i, seen in own.items():
        sizes[i] = seen.num_true, len(seen.scores)
    sizes = sum_over_ranks(torch.from_numpy(sizes).to(process.device)).cpu().numpy()
    numbers = np.zeros((count, 2, int(sizes[:, 1].max(initial=0))))
    for i, seen in own.items():
        numbers[i, :, : len(seen.scores)] = seen.scores, seen.ious
    numbers = sum_over_ranks(torch.from_numpy(numbers).to(process.device)).cpu().numpy()
    return [
        Seen(num_true=int(true), scores=rows[0, :length], ious=rows[1, :length])
        for (true, length), rows in zip(sizes.tolist(), numbers, strict=True)
    ]


def _wrong(images: Sequence[Seen]) -> tuple[Float64[np.ndarray, " N"], int]:
    """The scores of detections that count as wrong, and in how many images they are."""
    without = [image for image in images if not image.num_true]
    counted = without or images
    return np.concatenate([np.zeros(0), *(image.scores[image.ious == 0] for image in counted)]), len(counted)


def shown_threshold(images: Sequence[Seen]) -> float:
    """The score above which an image has SHOWN_LEVEL wrong detections on average."""
    false_scores, num_images = _wrong(images)
    return threshold_at(false_scores, SHOWN_LEVEL * num_images)


def summarise(images: Sequence[Seen]) -> dict[str, float]:
    """FROC, the recall at each of its levels, and average precision over all images; nan without any true box."""
    scores = np.concatenate([np.zeros(0), *(image.scores for image in images)])
    is_right = np.concatenate([np.zeros(0), *(image.ious for image in images)]) > 0
    num_true = sum(image.num_true for image in images)
    recalls = recalls_at_levels(scores, is_right, num_true, *_wrong(images))
    named = {f"recall_at_{level}": recall for level, recall in zip(LEVELS, recalls.tolist(), strict=True)}
    return {"froc": float(recalls.mean()), "ap": detection_precision(scores, is_right, num_true), **named}


def _scored(dataset: MetaDataset, place: Place, seen: Seen, threshold: float) -> ScoredImage:
    """An image with its counts of objects above the threshold that pictures have."""
    split, source, rows = place
    samples, ious = dataset.sources[source].samples, seen.ious[seen.scores > threshold]
    right = int(np.count_nonzero(ious))
    counts = Counts(tp=right, fp=len(ious) - right, fn=seen.num_true - right, sum_iou=float(ious.sum()))
    return ScoredImage(
        split=split, source=source, key=samples.image[rows[0]], patient=samples.patient[rows[0]], objects=counts
    )


def boxed(image: Image, boxes: Boxes) -> Image:
    """The image with its boxes, drawn wide enough to be seen in a kept picture."""
    picture, width = image.copy(), 1 + max(image.shape[:2]) // PANEL_PX
    colour = to_rgb(CLASS_COLOURS[3])
    corners: Float32[np.ndarray, "N 4"] = np.round(boxes.corners)
    for left, top, right, bottom in corners.astype(int).tolist():
        cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), colour, width)
    return picture


EVALUATOR = DetectedBoxes
