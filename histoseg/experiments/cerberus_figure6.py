"""Cerberus, Figures 5 and 6: signet ring cells found by detectors that begin with different encoders.

The paper labelled cells itself that the challenge's annotations lack; those labels were not published. Its numbers of
images cannot be read from the text, so ours double from 2 to 32; every number of images is drawn anew for each repeat.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from histoseg.experiments import _cerberus
from histoseg.experiments._available import Sources
from histoseg.experiments._cerberus import ALL, DIVISIONS, STRUCTURES, FoldGrid, Row, sources_teaching
from histoseg.experiments._cerberus_spec import ON_WEIGHTS
from histoseg.methods.detection import Detection
from histoseg.models.retinanet import RetinaNetSpec
from histoseg.report.section import Listing, Section
from histoseg.report.table import Axis, Table, TableSpec
from histoseg.runs.config import Optim, Run, Select, Stage
from histoseg.scoring.detection import DetectedBoxes
from histoseg.types import FOLDS, Split

EXPERIMENT = "cerberus_figure6"
SOURCE = "digestpath_signet"
NUMBERS = (2, 4, 8, 16, 32)
REPEATS = 4  # Sec. 4.3.5
GOAL = 0.4  # The dashed line of Figure 6
CONFIDENCE = 0.95  # The paper does not say which its intervals have.
TRAIN: tuple[Split, ...] = FOLDS[:2]
TEST: Split = FOLDS[2]
WITHOUT = "imagenet"  # The row whose detector begins without a training on histology
# As in Table 4: the same trainings, which are made once for both; on a laptop those of Table 6.
ROWS = {
    "stl": Row(title="Nuclei (single task)", trainings=(("nuclei",),), mixed=False),
    "in_mixed_pc": Row(title="Cerberus (ImageNet, all tasks)", trainings=(ALL,), imagenet=True),
}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large the experiment is; the paper states no schedule for its detectors, so this one is ours.

    Attributes:
        before: Of the trainings that give encoders.
        numbers: Of training images, as far as there are so many.
    """

    before: _cerberus.Sizes = field(default_factory=_cerberus.Sizes)
    batch: int = 16
    optim: Optim = field(default_factory=lambda: Optim(lr=1e-4, steps=8_000, drop_at=6_000, precision="bf16"))
    evaluator: DetectedBoxes = field(default_factory=DetectedBoxes)


SCALES: Mapping[str, Sizes] = {
    "laptop": Sizes(
        before=_cerberus.BRIEF_SCALES["laptop"],
        batch=4,
        optim=Optim(lr=1e-3, steps=450, drop_at=340),
        evaluator=DetectedBoxes(window_px=384, margin_px=32),
    ),
    "real-cpu": Sizes(
        before=_cerberus.SCALES["real-cpu"],
        batch=4,
        optim=Optim(lr=1e-3, steps=400, drop_at=320),
        evaluator=DetectedBoxes(window_px=640, margin_px=64),
    ),
    "paper": Sizes(before=_cerberus.SCALES["paper"]),
}
SOURCES = (*sources_teaching(STRUCTURES), SOURCE)


def runs(scale: str, seeds: int, sources: Sources) -> list[Run]:
    """Every run that the prepared sources allow, for seeds 0 to `seeds` - 1 of the trainings before."""
    sizes = SCALES[scale]
    alone = [_without(scale, seed, sizes) for seed in range(seeds)]
    grid = FoldGrid(experiment=EXPERIMENT, rows=ROWS, scales={scale: sizes.before}, divisions=DIVISIONS[:1])
    before = grid.runs(scale, seeds, sources)
    return [
        _with_detector(base, sizes, number, repeat)
        for base in (*alone, *before)
        for number in NUMBERS
        for repeat in range(REPEATS)
        if not why_missing(base.row, _column(number), sources)
    ]


def _without(scale: str, seed: int, sizes: Sizes) -> Run:
    """A run without a training before its detector's, which is still to be made its own."""
    weights = "imagenet" if sizes.before.imagenet else ""
    return Run(
        experiment=EXPERIMENT,
        scale=scale,
        row=WITHOUT,
        seed=seed,
        data=sizes.before.data,
        network=RetinaNetSpec(width=sizes.before.width, weights=weights),
        stages=(_detect(sizes, NUMBERS[0], 0),),
        score=Select(sources=(SOURCE,), splits=(TEST,)),
        evaluator=sizes.evaluator,
    )


def _with_detector(base: Run, sizes: Sizes, number: int, repeat: int) -> Run:
    """The run with a detector that begins with the encoder of its stages before, if it has some."""
    detect = _detect(sizes, number, repeat)
    after = replace(detect, network=RetinaNetSpec(width=sizes.before.width))
    return replace(
        base,
        column=_column(number),
        division=f"{'+'.join(TRAIN)} to {TEST}, repeat {repeat + 1}",
        stages=(detect,) if base.row == WITHOUT else (*base.stages, after),
        score=Select(sources=(SOURCE,), splits=(TEST,)),
        evaluator=sizes.evaluator,
    )


def _detect(sizes: Sizes, number: int, repeat: int) -> Stage:
    return Stage(
        label="detect",
        method=Detection(batch=sizes.batch, repeat=repeat),
        select=Select(sources=(SOURCE,), splits=TRAIN, shots=number, draw=repeat, with_objects=True),
        optim=sizes.optim,
    )


def _column(number: int) -> str:
    return f"images{number}"


def why_missing(row: str, column: str, sources: Sources) -> str:
    """Why a cell cannot be had from these sources; empty if it can."""
    if SOURCE not in sources:
        return "no shards of signet ring cells"
    if lacking := [fold for fold in FOLDS if fold not in sources[SOURCE].splits]:
        return f"too few patients for {' and '.join(lacking)}"
    known = sources[SOURCE].images_with_objects
    there, wanted = sum(known.get(fold, 0) for fold in TRAIN), int(column.removeprefix("images"))
    if known and there < wanted:
        return f"only {there} images"
    grid = FoldGrid(experiment=EXPERIMENT, rows=ROWS)
    if row == "stl":
        return grid.why_missing(row, "test.nuclei.pq", sources)
    if row == "in_mixed_pc" and sum(not grid.why_missing(row, f"test.{s}.pq", sources) for s in ALL) < grid.least:
        return "too few structures to learn together"
    return ""


def images_needed(table: Table) -> Section:
    """How many images each row needs for a FROC of 0.4, read off the line between the means."""
    rows = []
    for row, title in table.spec.rows.items():
        cells = [table.cells[row, _column(number)] for number in NUMBERS]
        means = {n: cell.mean for n, cell in zip(NUMBERS, cells, strict=True) if not cell.reason}
        best = f"{max(means.values()):.3f}" if means else ""
        rows.append((title, _say_needed(means), best))
    listing = Listing(
        caption=f"Images with cells for a mean FROC of {GOAL:g}, interpolated between the numbers tried (log scale)",
        heads=(table.spec.row_name, "Images needed", "Best mean FROC"),
        kinds=("head", "text", "number"),
        rows=rows,
    )
    has_some = any(not cell.reason for cell in table.own_cells)
    return Section(name="needed", heading="Images needed", listings=[listing] if has_some else [])


def _say_needed(means: Mapping[int, float]) -> str:
    if not means:
        return "not finished"
    needed = reaches(means, GOAL)
    if math.isnan(needed):
        return f"not reached with {max(means)}"
    return f"{min(means)} or fewer" if needed == min(means) else f"{needed:.1f}"


def reaches(means: Mapping[int, float], goal: float) -> float:
    """The number at which the line through the means, over a logarithmic axis, first reaches a goal; nan if never."""
    numbers = sorted(means)
    for before, number in zip([None, *numbers], numbers, strict=False):
        if means[number] >= goal:
            if before is None:
                return float(number)
            share = (goal - means[before]) / (means[number] - means[before])
            return math.exp(math.log(before) + share * (math.log(number) - math.log(before)))
    return math.nan


SPEC = TableSpec(
    title="Figure 6: signet ring cells found, by numbers of training images",
    row_name="Encoder begins with",
    rows={WITHOUT: "ImageNet", **{name: row.title for name, row in ROWS.items()}},
    groups={"FROC by numbers of training images": {_column(n): f"{n} images" for n in NUMBERS}},
    score="froc",
    score_title="FROC",
    replicates="repeats",
    x_axis=Axis(
        title="training images with signet ring cells (log scale)",
        values={_column(number): number for number in NUMBERS},
        is_log=True,
        goal=GOAL,
        confidence=CONFIDENCE,
    ),
    sections=(images_needed,),
    notes=(
        "FROC is that of DigestPath 2019: the recall where images without cells have 1, 2, 4, 8, 16 and 32 wrong boxes "
        "each on average, and the mean of the six. A box is right at an IoU of 0.3 with a true one.",
        "A detector begins with the encoder of its row; then all of its weights are trained. Each repeat draws other "
        "images, another head and other patches; the training that gave the encoder is the same.",
        "Encoders come from a training on the first fold of other sources, detectors from the first two folds of this "
        "one; the third is scored. Images of one patient are in one fold.",
        "Pictures show the boxes above the score at which images without cells have one wrong box each on average.",
        "The paper's labels of these images were never published, so its curve cannot be met: ours is of the "
        "challenge's own, which are incomplete where cells crowd.",
        ON_WEIGHTS,
    ),
)

__all__ = ["SCALES", "SOURCES", "SPEC", "STRUCTURES", "runs", "why_missing"]
