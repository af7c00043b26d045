"""The result record of one run: one definition for writing and for reading.

A record is one JSON object. It is written once and never changed, so a table can be built from it again at any time.
Undefined scores are nan in Python and null in JSON.
"""

import math
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, PlainSerializer

from histoseg.runs.config import Precision

FORMAT: Literal[2] = 2  # Raised when a record of the same result would have other fields.


def _nan_for_null(value: object) -> object:
    return math.nan if value is None else value


def _null_for_nan(value: float) -> float | None:
    return None if math.isnan(value) else value


ROUNDING = 1e-9  # A mean of ones may come out above 1 by this much.


def _require_score(value: float) -> float:
    if not (math.isnan(value) or -ROUNDING <= value <= 1 + ROUNDING):
        raise ValueError("a score must be within 0 and 1, or null where it is undefined")
    return value


def _require_square(rows: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    if any(len(row) != len(rows) for row in rows):
        raise ValueError("a confusion matrix must have as many columns as rows")
    return rows


def _require_time(value: str) -> str:
    if datetime.fromisoformat(value).tzinfo is None:
        raise ValueError("a time must have a time zone, as in 2026-03-01T12:00:00Z")
    return value


Number = Annotated[float, BeforeValidator(_nan_for_null), PlainSerializer(_null_for_nan, return_type=float | None)]
Score = Annotated[Number, AfterValidator(_require_score)]
Count = Annotated[int, Field(ge=0)]
Confusion = Annotated[tuple[tuple[Count, ...], ...], AfterValidator(_require_square)]
Time = Annotated[str, AfterValidator(_require_time)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Point(_Part):
    """A point of a learning curve: the mean loss up to a step, and the validation score there if there is one."""

    step: int
    loss: Number
    score: Number = math.nan


class StageRecord(_Part):
    """One stage of a run.

    Attributes:
        stage: The stage's unique name, which runs that share the training share.
        label: What the stage does: "pretrain", "refine", "train", "subtype".
        best_step: The step whose weights were kept; the last one unless a validation score chose another.
        seconds: Wall time of the training over all attempts.
    """

    stage: str
    label: str
    curve: tuple[Point, ...] = ()
    best_step: int = 0
    seconds: float = 0.0


class Counts(_Part):
    """Objects of an image: matched, predicted without a match, missed, and the sum of the matches' IoU."""

    tp: Count
    fp: Count
    fn: Count
    sum_iou: float

    @property
    def pq(self) -> float:
        """Panoptic quality (Kirillov et al. 2019, Eq. 1); nan if neither map has an object."""
        weight = self.tp + (self.fp + self.fn) / 2
        return self.sum_iou / weight if weight else math.nan


class ScoredImage(_Part):
    """One whole image against its truth.

    Attributes:
        split: The split, or the fold.
        structure: What was scored; empty for semantic classes.
        confusion: Pixels, rows true and columns predicted.
        objects: Counts of all objects, their classes ignored; None for semantic classes.
        otsu: The same for the objects of Otsu's threshold.
        by_class: Counts of each class of objects from 1 on; empty if no classes are annotated.
    """

    split: str
    source: str
    key: str
    patient: str
    structure: str = ""
    confusion: Confusion = ()
    objects: Counts | None = None
    otsu: Counts | None = None
    by_class: tuple[Counts, ...] = ()


class Panel(_Part):
    """Pictures of one scored image, as store keys of RGB PNG files.

    Attributes:
        structure: What is shown; empty for semantic classes.
        score: The score of this image alone: PQ of objects, the share of objects whose class is right (where there is
            both a structure and a legend), or mIoU over present classes.
        legend: The colour (#RRGGBB) of each class in the pictures; empty if outlines have one colour.
    """

    source: str
    key: str
    structure: str = ""
    score: Score = math.nan
    image: str
    truth: str
    prediction: str
    legend: dict[str, str] = {}


class Record(_Part):
    """One finished run.

    Attributes:
        row, column: Where the run stands in the experiment's table; a run without a column fills every column of its
            row that is the name of one of its scores.
        replicate: The name of this run among those of the same place: its seed, and its division of the folds if any.
        sources: Every source that was trained or scored on.
        origins: Whether each source is "raw" (real images) or "demo" (drawn by the program).
        scores: By name, for example "miou_pooled" or "test.gland.pq".
        measures: By name, what was measured of a network instead of scored, in any range: see `scoring/affinity.py`.
        per_class: By name, the score of each class.
        sizes: How many images, objects or pixels were scored, by name.
        model: The store folder of the network that was scored.
        precision: What the network computed in when it was scored; empty in records that do not state it, where it is
            that of the last stage.
        seconds: Wall time by phase: the label of each stage, and "evaluate".
    """

    format: Literal[2] = FORMAT
    name: str
    experiment: str
    scale: str
    row: str
    column: str = ""
    replicate: str
    seed: Count
    run: dict[str, JsonValue]
    sources: tuple[str, ...]
    checksums: dict[str, str]
    origins: dict[str, str]
    stages: tuple[StageRecord, ...]
    scores: dict[str, Score]
    measures: dict[str, Number] = {}
    per_class: dict[str, dict[str, Score]] = {}
    sizes: dict[str, Count] = {}
    images: tuple[ScoredImage, ...] = ()
    panels: tuple[Panel, ...] = ()
    model: str = ""
    git_commit: str
    versions: dict[str, str]
    precision: Precision | Literal[""] = ""
    device: str
    world_size: int = Field(ge=1)
    attempt: int = 0
    finished_at: Time
    seconds: dict[str, float]
    gpu_seconds: float

    def score(self, name: str) -> float:
        """A score by its name, or that of a class by "name.class", as "test.nuclei.ap.plasma"; nan without it."""
        family, _, class_name = name.rpartition(".")
        return self.scores.get(name, self.per_class.get(family, {}).get(class_name, math.nan))

    def has_score(self, name: str) -> bool:
        """Whether there is a score of that name, even if it is undefined."""
        family, _, class_name = name.rpartition(".")
        return name in self.scores or class_name in self.per_class.get(family, {})

    @property
    def part(self) -> str:
        """Which of several networks of one row this is; empty where there is only one."""
        return str(self.run.get("part", ""))
