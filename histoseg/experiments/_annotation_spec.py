"""The table of the annotation loop: scores by rounds as curves, and what difficult regions gain over random ones."""

import math
from collections.abc import Mapping

from histoseg.annotate.gain import Rule, gains
from histoseg.metrics.paired import Difference, paired_difference
from histoseg.report.cell import average
from histoseg.report.section import Listing, Section
from histoseg.report.table import Axis, Table, TableSpec

DIFFICULT, RANDOM = "difficult", "random"  # Rows of equal effort
RULE = Rule()
NOTES = (
    "An annotator is simulated: the true labels of a region are used once the region is chosen. Every round adds as "
    "many regions of one size and trains as many steps on from the network of the round before, whatever the row.",
    "“Difficult” is the mean over a region's pixels of the entropy of the network's probabilities, as a share of the "
    "largest; the paper selects difficult regions by eye (Cerberus, Sec. 3.4) and states no score. The first round is "
    "at random and the same in both rows.",
    "“Everything annotated” has the labels of all regions from the first round on: what no choice of regions is meant "
    "to beat.",
    "Rows share their rounds with the same division and seed, so differences are paired. Divisions share images, so "
    "their interval is too narrow.",
)


def annotation_table(structure: str, rows: Mapping[str, str], columns: Mapping[str, str]) -> TableSpec:
    """A table of ways to choose regions by rounds of annotation."""
    return TableSpec(
        title=f"Annotation loop: {structure} by rounds of annotation",
        row_name="Annotated",
        rows=rows,
        groups={"Rounds": columns},
        score=f"test.{structure}.pq",
        score_title="PQ",
        replicates="divisions of the folds and seeds",
        structure=lambda _column: structure,
        x_axis=Axis(title="round of annotation", values={name: i for i, name in enumerate(columns, start=1)}),
        notes=NOTES,
        sections=(gain_section,),
    )


def gain_section(table: Table) -> Section:
    """What difficult regions gain over random ones at equal effort, and where annotation would stop."""
    differences = by_round(table)
    rows = [
        [
            table.spec.columns[column],
            *(_say(mean) for mean in _means(table, column)),
            _say(one.mean, "+"),
            _interval(one),
        ]
        for column, one in differences.items()
    ]
    listing = Listing(
        caption="PQ of both ways, their paired difference, and its 95 % interval (Student's t over replicates)",
        heads=("Round", "Difficult", "At random", "Difference", "95 % interval"),
        rows=rows,
        kinds=("head", "number", "number", "number", "text"),
    )
    return Section(
        name="gain",
        heading="Difficult regions against random ones",
        paragraphs=[_sentence(all_rounds(table)), *(say_stop(table, row) for row in (DIFFICULT, RANDOM))],
        listings=(listing,),
    )


def by_round(table: Table) -> dict[str, Difference]:
    """The paired difference of both rows in each round after the first, which they share."""
    return {column: paired_difference(*_pairs(table, column)) for column in list(table.spec.columns)[1:]}


def all_rounds(table: Table) -> Difference:
    """The paired difference of each replicate's mean over the rounds after the first, in which both rows finished."""
    later = list(table.spec.columns)[1:]
    replicates = _common(table, later)
    first, second = ([_mean(table, row, later, one) for one in replicates] for row in (DIFFICULT, RANDOM))
    return paired_difference(first, second)


def say_stop(table: Table, row: str) -> str:
    """After which round annotation would have stopped."""
    scores = [table.cells[row, column].mean for column in table.spec.columns]
    over = next((i for i in range(1, len(scores) + 1) if RULE.is_over(scores[:i])), 0)
    said = ", ".join(_say(gain, "+") for gain in gains(scores)[1:])
    rule = f"the mean gain over {RULE.last_rounds} rounds is below {RULE.least_gain:g}"
    end = f"after round {over}, where {rule}" if over else f"later than these rounds: until {rule}"
    return f"{table.spec.rows[row]}: the rounds gained {said}; annotation stops {end}."


def _common(table: Table, columns: list[str]) -> list[str]:
    """The replicates that both rows have in some columns, sorted."""
    each = [set(table.cells[row, column].records) for row in (DIFFICULT, RANDOM) for column in columns]
    return sorted(set.intersection(*each)) if each else []


def _pairs(table: Table, column: str) -> tuple[list[float], list[float]]:
    """The scores of both rows by the replicates that both have."""
    replicates = _common(table, [column])
    first, second = ([_score(table, row, column, one) for one in replicates] for row in (DIFFICULT, RANDOM))
    return first, second


def _score(table: Table, row: str, column: str, replicate: str) -> float:
    return table.cells[row, column].records[replicate].scores[table.spec.score]


def _mean(table: Table, row: str, columns: list[str], replicate: str) -> float:
    """The mean score of a replicate over some columns."""
    return average(_score(table, row, column, replicate) for column in columns)


def _means(table: Table, column: str) -> tuple[float, float]:
    return table.cells[DIFFICULT, column].mean, table.cells[RANDOM, column].mean


def _sentence(found: Difference) -> str:
    if math.isnan(found.mean):
        return "No replicate has finished in both rows."
    return (
        f"Over all rounds after the first, difficult regions give {_say(found.mean, '+')} PQ against as many random "
        f"ones (95 % interval {_interval(found)}, {found.count} replicates)."
    )


def _interval(found: Difference) -> str:
    return "" if math.isnan(found.low) else f"{_say(found.low, '+')} to {_say(found.high, '+')}"


def _say(value: float, sign: str = "") -> str:
    return "—" if math.isnan(value) else f"{value:{sign}.3f}"
