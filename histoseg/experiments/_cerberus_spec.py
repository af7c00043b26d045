"""What Cerberus' tables have in common in print, and what only they say."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set

from histoseg.report.cell import Cell, average
from histoseg.report.sentences import leading_rows, margins
from histoseg.report.table import NO_PAPER, Baseline, Paper, Table, TableSpec

SPLITS = {"test": "Cross-validation", "external": "External test set"}
ON_SCORES = (
    "PQ and Dice are computed for each image and averaged (Cerberus, Sec. 4.2). “Otsu” is the PQ of Otsu's threshold "
    "and connected pixels: a network near it has learned little."
)
ON_WEIGHTS = (
    "At the scales laptop and real-cpu no ImageNet weights are used: rows that name them start from random numbers."
)
ON_STEPS = (
    "At the scale laptop, networks of one structure are trained half as long as networks of several, which share their "
    "patches between structures."
)
NOTES = (
    "Mean ± standard deviation over three divisions of the folds (and seeds): trained on one fold, scored on another, "
    "which the training has not seen. The network is the one after the last step; nothing is chosen on a score.",
    ON_SCORES,
    "The paper's glands and lumina of DigestPath and TCGA, and its external test set, were never published: its "
    "numbers stand beside ours for orientation, not as a target for the public part of its data.",
    ON_WEIGHTS,
    ON_STEPS,
)


def folds_table(
    title: str,
    rows: Mapping[str, str],
    groups: Mapping[str, Mapping[str, str]],
    notes: tuple[str, ...],
    paper: Paper = NO_PAPER,
    *,
    keeps_model: bool = False,
) -> TableSpec:
    """A table of ways to train by scores, named "<split>.<structure>.<score>", over divisions of the folds."""
    return TableSpec(
        title=title,
        row_name="Trained as",
        rows=rows,
        groups=groups,
        replicates="divisions of the folds and seeds",
        baseline=Baseline(
            title="Otsu threshold",
            meaning="Otsu's threshold is what a program scores that has learned nothing.",
            score=otsu,
        ),
        class_scores=_class_scores({structure_of(column) for group in groups.values() for column in group}),
        structure=structure_of,
        sentences=(leading_rows, margins, above_otsu),
        notes=notes,
        paper=paper,
        keeps_model=keeps_model,
    )


def _class_scores(structures: Set[str]) -> dict[str, str]:
    """Titles of scores of single classes, of the structures that the table is about."""
    return {
        f"{split}.{structure}.{score}": f"{structure.capitalize()}, {where.lower()}: {name}"
        for structure in sorted(structures)
        for split, where in SPLITS.items()
        for score, name in {"ap": "average precision", "f1": "F1"}.items()
    }


def groups(structures: Sequence[str], scores: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """A group for cross-validation and one for the external test set, with a column for each structure and score."""
    return {
        title: {
            f"{split}.{structure}.{score}": f"{structure.capitalize()} {name}"
            for structure in structures
            for score, name in scores.items()
        }
        for split, title in SPLITS.items()
    }


def structure_of(column: str) -> str:
    """The structure that "<split>.<structure>.<score>" is a score of."""
    return column.split(".")[1]


def otsu(cells: Iterable[Cell]) -> float:
    """The PQ of Otsu's threshold, where cells are of PQ."""
    return _baseline(cells, lambda family, score: f"{family}.otsu_pq" if score == "pq" else "")


def majority(cells: Iterable[Cell]) -> float:
    """The score of giving every object the class that most of them have."""
    return _baseline(cells, lambda family, score: f"{family}.majority_{score}")


def _baseline(cells: Iterable[Cell], name_of: Callable[[str, str], str]) -> float:
    """The mean over divisions of another score of the same records: all of one division are of the same images."""
    by_division: dict[str, float] = {}
    for cell in cells:
        family, _, score = cell.score.rpartition(".")
        for replicate, record in cell.records.items() if name_of(family, score) else ():
            by_division[replicate.partition(", seed")[0]] = record.score(name_of(family, score))
    return average(value for value in by_division.values() if not math.isnan(value))


MAJORITY = Baseline(
    title="Most frequent class",
    meaning="The most frequent class is what a program scores that gives it to every object.",
    score=majority,
)


def above_otsu(table: Table) -> list[str]:
    """How many PQ are above that of Otsu's threshold."""
    return _above(table, "PQ", "that of Otsu's threshold")


def above_majority(table: Table) -> list[str]:
    """How many scores are above that of the most frequent class."""
    return _above(table, "means", "what the most frequent class scores")


def _above(table: Table, what: str, baseline: str) -> list[str]:
    keys = {column: table.spec.keys_of(column) for column in table.spec.columns}
    pairs = [(mean, table.baseline_of(own)) for own in keys.values() for mean in table.means(own).values()]
    known = [(mean, score) for mean, score in pairs if not math.isnan(score)]
    above = sum(mean > score for mean, score in known)
    return [f"{above} of {len(known)} {what} are above {baseline}."] if known else []
