"""A result record: what one finished cell left behind. It is never changed, so every table can be built again.

Only what a report reads is checked and typed. The run stays as plain values: a report must also read records whose
run an older version wrote.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Int64

from histoseg.errors import DataError

FORMAT = 1  # Raised whenever a record of the same result would have other fields.

Value = TypeVar("Value")


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
class Panel:
    """Store keys of the PNG files that show one test image: the image and two label maps."""

    key: str
    image: str
    truth: str
    prediction: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """One cell and seed.

    Attributes:
        cell: The name of this result; `pretraining` is that of the model it was refined from.
        run: The whole configuration as it was written.
        origins: Whether each source is "raw" (real images) or "demo" (drawn by the program).
        seconds: Wall time by phase ("pretrain", "refine", "evaluate").
        best_epoch: The epoch of refining with the best validation score, from which the test scores come.
        pretrain_curve: Pairs of step and loss; `refine_curve` pairs of epoch and validation mIoU.
    """

    cell: str
    pretraining: str
    experiment: str
    scale: str
    address: Address
    predecessors: tuple[str, ...]
    seed: int
    run: Mapping[str, Any]
    checksums: Mapping[str, str]
    origins: Mapping[str, str]
    git_commit: str
    versions: Mapping[str, str]
    device: str
    world_size: int
    seconds: Mapping[str, float]
    gpu_seconds: float
    finished_at: str
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


def from_json(raw: Mapping[str, Any], where: str) -> Record:
    """The record as read from `where`, for instance its store key.

    Raises:
        DataError: If a field is missing or cannot be; the text names the record and the field.
    """
    whole = _Part(raw, where, "")
    if whole.get("format", _int) != FORMAT:
        raise whole.error("format", f"a record of format {FORMAT}; evaluate the cell again")
    run, task = whole.part("run"), whole.part("task")
    classes = task.get("classes", _each(_text))
    return Record(
        cell=whole.get("cell", _text),
        pretraining=whole.get("pretraining", _text),
        experiment=run.get("experiment", _text),
        scale=run.get("scale", _text),
        address=Address(run.get("new_task", _text), run.get("column", _text), run.part("method").get("name", _text)),
        predecessors=run.get("predecessors", _each(_text)),
        seed=run.get("seed", _count),
        run=run.values,
        checksums=whole.get("checksums", _named(_text)),
        origins=whole.get("origins", _named(_text)),
        git_commit=whole.get("git_commit", _text),
        versions=whole.get("versions", _named(_text)),
        device=whole.get("device", _text),
        world_size=whole.get("world_size", _count),
        seconds=whole.get("seconds", _named(_number)),
        gpu_seconds=whole.get("gpu_seconds", _number),
        finished_at=whole.get("finished_at", _text),
        task_title=task.get("title", _text),
        classes=classes,
        best_epoch=whole.get("best_epoch", _int),
        pretrain_curve=_curve(whole, "pretrain_curve", "step", "loss"),
        refine_curve=_curve(whole, "refine_curve", "epoch", "val_miou"),
        majority_class=whole.get("majority_class", _class_of(len(classes))),
        test_images=tuple(_scored_image(part, len(classes)) for part in whole.parts("test_images")),
        scores=_scores(whole.part("scores"), len(classes)),
        panels=tuple(_panel(part) for part in whole.parts("panels")),
    )


@dataclass(frozen=True)
class _Part:
    """One object of the record, and where it stands for the text of an error."""

    values: Mapping[str, Any]
    where: str
    path: str

    def error(self, name: str, expected: str) -> DataError:
        found = repr(self.values[name])[:80] if name in self.values else "missing"
        return DataError(f"{self.where}: field {self.path}{name} is {found}; expected {expected}")

    def get(self, name: str, convert: Callable[[Any], Value]) -> Value:
        """The field's value; `convert` raises ValueError with what it expected."""
        try:
            return convert(self.values[name])
        except KeyError:
            raise self.error(name, "a value; was it written by another version?") from None
        except ValueError as error:
            raise self.error(name, str(error)) from error

    def part(self, name: str) -> "_Part":
        return _Part(self.get(name, _mapping), self.where, f"{self.path}{name}.")

    def parts(self, name: str) -> list["_Part"]:
        return [
            _Part(values, self.where, f"{self.path}{name}[{i}].")
            for i, values in enumerate(self.get(name, _each(_mapping)))
        ]


def _scored_image(part: _Part, num_classes: int) -> ScoredImage:
    return ScoredImage(
        key=part.get("key", _text),
        patient=part.get("patient", _text),
        confusion=part.get("confusion", lambda value: _square(value, num_classes)),
    )


def _scores(part: _Part, num_classes: int) -> Scores:
    low, high = part.get("interval", lambda value: _exactly(2, _each(_score)(value)))
    return Scores(
        miou_pooled=part.get("miou_pooled", _score),
        miou_reference=part.get("miou_reference", _score),
        miou_present=part.get("miou_present", _score),
        interval=(low, high),
        per_class=part.get("per_class", lambda value: _exactly(num_classes, _each(_score)(value))),
        majority_miou_pooled=part.get("majority_miou_pooled", _score),
    )


def _panel(part: _Part) -> Panel:
    return Panel(**{name: part.get(name, _text) for name in ("key", "image", "truth", "prediction")})


def _curve(whole: _Part, name: str, x: str, y: str) -> tuple[tuple[int, float], ...]:
    return tuple((part.get(x, _int), part.get(y, _number_or_nan)) for part in whole.parts(name))


def _require(claim: bool, expected: str) -> None:
    if not claim:
        raise ValueError(expected)


def _text(value: Any) -> str:
    _require(isinstance(value, str), "a text")
    return str(value)


def _int(value: Any) -> int:
    _require(isinstance(value, int) and not isinstance(value, bool), "a whole number")
    return int(value)


def _count(value: Any) -> int:
    _require(_int(value) >= 0, "a whole number, 0 or more")
    return int(value)


def _class_of(num_classes: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        _require(0 <= _int(value) < num_classes, f"a class, 0 to {num_classes - 1}")
        return int(value)

    return convert


def _number(value: Any) -> float:
    _require(isinstance(value, int | float) and not isinstance(value, bool), "a number")
    return float(value)


def _number_or_nan(value: Any) -> float:
    """JSON has no nan, so null stands for it."""
    return math.nan if value is None else _number(value)


def _score(value: Any) -> float:
    number = _number_or_nan(value)
    _require(math.isnan(number) or 0 <= number <= 1, "a number within 0 and 1, or null where it is undefined")
    return number


def _mapping(value: Any) -> Mapping[str, Any]:
    _require(isinstance(value, Mapping), "an object")
    return dict(value)


def _named(convert: Callable[[Any], Value]) -> Callable[[Any], Mapping[str, Value]]:
    return lambda value: {name: convert(item) for name, item in _mapping(value).items()}


def _each(convert: Callable[[Any], Value]) -> Callable[[Any], tuple[Value, ...]]:
    def convert_all(value: Any) -> tuple[Value, ...]:
        _require(isinstance(value, list | tuple), "a list")
        return tuple(convert(item) for item in value)

    return convert_all


def _exactly(num_items: int, items: Iterable[Value]) -> tuple[Value, ...]:
    found = tuple(items)
    _require(len(found) == num_items, f"a list of {num_items}")
    return found


def _square(value: Any, num_classes: int) -> Int64[np.ndarray, "C C"]:
    rows = _exactly(num_classes, _each(_each(_count))(value))
    _require(all(len(row) == num_classes for row in rows), f"{num_classes} rows of {num_classes} counts")
    return np.array(rows, np.int64).reshape(num_classes, num_classes)
