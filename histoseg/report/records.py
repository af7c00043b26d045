"""A result record: what one finished cell left behind. It is never changed, so every table can be built again.

Only what a report reads is checked and typed. The run stays as plain values: a report must also read records whose
run an older version wrote.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from histoseg.report.fields import Part, count, each, exactly, integer, require, score, text
from histoseg.report.header import Header, Panel, read_header, read_panel


class Address(NamedTuple):
    """Where a cell stands in a table: the run's fields of the same names."""

    new_task: str
    column: str
    method: str


@dataclass(frozen=True, kw_only=True)
class ScoredImage:
    """The confusion of one whole test image, rows true and columns predicted."""

    key: str
    patient: str
    confusion: Int64[np.ndarray, "C C"]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What `histoseg.metrics.iou` says of the test images; nan where it is undefined.

    Attributes:
        interval: Ends of the 95 % bootstrap interval of `miou_pooled` over test images.
        per_class: Pooled IoU of each class.
        majority_miou_pooled: `miou_pooled` of always answering the most frequent class.
    """

    miou_pooled: float
    miou_reference: float
    miou_present: float
    interval: tuple[float, float]
    per_class: tuple[float, ...]
    majority_miou_pooled: float


@dataclass(frozen=True, kw_only=True)
class Record:
    """One cell and seed.

    Attributes:
        best_epoch: The epoch of refining with the best validation score, from which the test scores come.
        pretrain_curve: Pairs of step and loss; `refine_curve` pairs of epoch and validation mIoU.
    """

    header: Header
    address: Address
    predecessors: tuple[str, ...]
    task_title: str
    classes: tuple[str, ...]
    best_epoch: int
    pretrain_curve: tuple[tuple[int, float], ...]
    refine_curve: tuple[tuple[int, float], ...]
    majority_class: int
    test_images: tuple[ScoredImage, ...]
    scores: Scores
    panels: tuple[Panel, ...]

    @property
    def num_test_pixels(self) -> int:
        """How many pixels the scores count."""
        return int(sum(image.confusion.sum() for image in self.test_images))

    @property
    def facts(self) -> Mapping[str, str]:
        """What tells this run from others, for people."""
        return {
            "New task": self.address.new_task,
            "Predecessors": ", ".join(self.predecessors),
            "Method": self.address.method,
            "Test images": str(len(self.test_images)),
            "Epoch": str(self.best_epoch),
        }


def from_json(raw: Mapping[str, Any], where: str) -> Record:
    """The record as read from `where`, for instance its store key.

    Raises:
        DataError: If a field is missing or cannot be; the text names the record and the field.
    """
    whole = Part(raw, where)
    header = read_header(whole)
    run, task = whole.part("run"), whole.part("task")
    classes = task.get("classes", each(text))
    return Record(
        header=header,
        address=Address(run.get("new_task", text), run.get("column", text), run.part("method").get("name", text)),
        predecessors=run.get("predecessors", each(text)),
        task_title=task.get("title", text),
        classes=classes,
        best_epoch=whole.get("best_epoch", integer),
        pretrain_curve=whole.points("pretrain_curve", "step", "loss"),
        refine_curve=whole.points("refine_curve", "epoch", "val_miou"),
        majority_class=whole.get("majority_class", _class_of(len(classes))),
        test_images=tuple(_scored_image(part, len(classes)) for part in whole.parts("test_images")),
        scores=_scores(whole.part("scores"), len(classes)),
        panels=tuple(read_panel(part) for part in whole.parts("panels")),
    )


def _scored_image(part: Part, num_classes: int) -> ScoredImage:
    return ScoredImage(
        key=part.get("key", text),
        patient=part.get("patient", text),
        confusion=part.get("confusion", lambda value: _square(value, num_classes)),
    )


def _scores(part: Part, num_classes: int) -> Scores:
    low, high = part.get("interval", lambda value: exactly(2, each(score)(value)))
    return Scores(
        miou_pooled=part.get("miou_pooled", score),
        miou_reference=part.get("miou_reference", score),
        miou_present=part.get("miou_present", score),
        interval=(low, high),
        per_class=part.get("per_class", lambda value: exactly(num_classes, each(score)(value))),
        majority_miou_pooled=part.get("majority_miou_pooled", score),
    )


def _class_of(num_classes: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        require(0 <= integer(value) < num_classes, f"a class, 0 to {num_classes - 1}")
        return int(value)

    return convert


def _square(value: Any, num_classes: int) -> Int64[np.ndarray, "C C"]:
    rows = exactly(num_classes, each(each(count))(value))
    require(all(len(row) == num_classes for row in rows), f"{num_classes} rows of {num_classes} counts")
    return np.array(rows, np.int64).reshape(num_classes, num_classes)
