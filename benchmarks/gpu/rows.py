"""What is measured, row by row, and what was found."""

from dataclasses import dataclass
from typing import Literal

from histoseg.runs.config import Precision

Workload = Literal[
    "Table 1, MAML", "Table 1, transfer", "Table 1", "Cerberus"
]  # "Table 1": both, which share a network
Doing = Literal["loading", "training", "prediction"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large everything is.

    Attributes:
        scale: The experiments' scale, of which patches, networks and batches are.
        image_px, num_images: Side and number of the stored images, of each source and split.
        predict_px: Side of the image that is predicted.
        timed_s: How long each row is timed, at least.
    """

    scale: str
    image_px: int
    num_images: int
    predict_px: int
    timed_s: float


PAPER = Size(scale="paper", image_px=1000, num_images=6, predict_px=2000, timed_s=6.0)  # MoNuSeg's images have 1000².
TOY = Size(scale="laptop", image_px=192, num_images=2, predict_px=160, timed_s=0.0)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing to measure."""

    workload: Workload
    doing: Doing
    precision: Precision = "fp32"
    compiled: bool = False
    ranks: int = 1

    @property
    def name(self) -> str:
        """What it is called."""
        words: list[str] = [self.workload, self.doing]
        if self.doing != "loading":
            words += [self.precision, "compiled" if self.compiled else "eager"]
        return " ".join(words + ([f"{self.ranks} ranks"] if self.ranks > 1 else []))


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was measured.

    Attributes:
        of: What a step has, or how large the image is; also what had to be made smaller.
        images_per_s: Patches trained on or loaded, or images predicted, by all ranks together.
        seconds: Of a step, or of an image.
        num_timed: How many steps or images were timed.
        tera: TFLOP/s of convolutions and matrix products; None if they could not be counted.
        share: Of the peak of the cards in that precision; None if that is not known.
        peak_gib: The most memory that tensors took on one card; None on a CPU.
        waiting: Share of the time spent on waiting for data; None where nothing is trained or predicted.
    """

    of: str
    images_per_s: float
    seconds: float
    num_timed: int
    tera: float | None = None
    share: float | None = None
    peak_gib: float | None = None
    waiting: float | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A row with its figures, or the reason why it has none.

    Attributes:
        failed: Whether it should have been measured.
        card: What torch calls the device that it was measured on.
    """

    row: Row
    figures: Figures | None = None
    reason: str = ""
    failed: bool = False
    card: str = ""


class CannotBeMeasuredError(Exception):
    """Something that a row needs is not there, and the benchmark can do nothing about it; the message says what."""


TRAINED: tuple[Workload, ...] = ("Table 1, MAML", "Table 1, transfer", "Cerberus")


def all_rows() -> list[Row]:
    """Every row, the quick ones first: to compile takes long, and may not fit into the time."""
    loading = [Row(workload=name, doing="loading") for name in TRAINED[1:]]
    on_two = [Row(workload=name, doing="training", precision="bf16", ranks=2) for name in TRAINED]
    return [*loading, *_variants(compiled=False), *on_two, *_variants(compiled=True)]


def _variants(*, compiled: bool) -> list[Row]:
    predicting: tuple[Workload, ...] = ("Table 1", "Cerberus")
    steps: list[tuple[Workload, Doing]] = [(name, "training") for name in TRAINED]
    steps += [(name, "prediction") for name in predicting]
    return [
        Row(workload=workload, doing=doing, precision=precision, compiled=compiled)
        for workload, doing in steps
        for precision in PRECISIONS
    ]
