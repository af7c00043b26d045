"""The table of the annotation loop: scores by rounds as curves, and what each way to choose gains over chance."""

import math
from collections.abc import Mapping

from histoseg.annotate.gain import Rule, gains
from histoseg.metrics.paired import Difference, paired_difference
from histoseg.report.cell import average
from histoseg.report.section import Listing, Section
from histoseg.report.table import Axis, Table, TableSpec
from histoseg.runs.config import Choose

WAYS: tuple[Choose, ...] = ("representative", "difficult")  # Rows that choose so, of equal effort as those of chance
RANDOM: Choose = "random"
RULE = Rule()
NOTES = (
    "An annotator is simulated: the true labels of a region are used once the region is chosen. Every round adds as "
    "many regions of one size and trains as many steps on from the network of the round before, whatever the row.",
    "A region's difficulty is the mean over its pixels of the entropy of the network's probabilities, as a share of "
    "the largest; the paper selects difficult regions by eye (Cerberus, Sec. 3.4) and states no score. Representative "
    "regions are chosen one after the other, each for the difficulty of all regions that look like it to the network. "
    "The first round is the same in all rows.",
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
    """What each way to choose gains over chance at equal effort, and where annotation would stop."""
    ways = {way: by_round(table, way) for way in WAYS if _has_any(table, way)}
    rows = [
        [
            table.spec.columns[column],
            _say(table.cells[RANDOM, column].mean),
            *(_with_interval(differences[column]) for differences in ways.values()),
        ]
        for column in list(table.spec.columns)[1:]
    ]
    listing = Listing(
        caption="PQ of regions at random, what each way has more, and its 95 % interval (Student's t over replicates)",
        heads=("Round", table.spec.rows[RANDOM], *(table.spec.rows[way] for way in ways)),
        rows=rows,
        kinds=("head", "number", *("number" for _ in ways)),
    )
    sentences = [_sentence(table, way) for way in ways] or ["No replicate has finished in two rows."]
    return Section(
        name="gain",
        heading="Chosen regions against random ones",
        paragraphs=[*sentences, *(say_stop(table, row) for row in (*ways, RANDOM))],
        listings=(listing,),
    )


def by_round(table: Table, way: str) -> dict[str, Difference]:
    """What a way has more than chance in each round after the first, which they share, paired by replicate."""
    return {column: _difference(table, way, [column]) for column in list(table.spec.columns)[1:]}


def all_rounds(table: Table, way: str) -> Difference:
    """What a way has more than chance in each replicate's mean over the rounds after the first."""
    return _difference(table, way, list(table.spec.columns)[1:])


def say_stop(table: Table, row: str) -> str:
    """After which round annotation would have stopped."""
    scores = [table.cells[row, column].mean for column in table.spec.columns]
    over = next((i for i in range(1, len(scores) + 1) if RULE.is_over(scores[:i])), 0)
    said = ", ".join(_say(gain, "+") for gain in gains(scores)[1:])
    rule = f"the mean gain over {RULE.last_rounds} rounds is below {RULE.least_gain:g}"
    end = f"after round {over}, where {rule}" if over else f"later than these rounds: until {rule}"
    return f"{table.spec.rows[row]}: the rounds gained {said}; annotation stops {end}."


def _difference(table: Table, way: str, columns: list[str]) -> Difference:
    """The paired difference of means over some columns, of the replicates that have them all in both rows."""
    replicates = _common(table, way, columns)
    first, second = ([_mean(table, row, columns, one) for one in replicates] for row in (way, RANDOM))
    return paired_difference(first, second)


def _common(table: Table, way: str, columns: list[str]) -> list[str]:
    """The replicates that a way and chance both have in some columns, sorted."""
    each = [set(table.cells[row, column].records) for row in (way, RANDOM) for column in columns]
    return sorted(set.intersection(*each)) if each else []


def _has_any(table: Table, way: str) -> bool:
    """Whether a way can be compared with chance in any round."""
    return any(_common(table, way, [column]) for column in list(table.spec.columns)[1:])


def _mean(table: Table, row: str, columns: list[str], replicate: str) -> float:
    """The mean score of a replicate over some columns."""
    return average(table.cells[row, column].records[replicate].scores[table.spec.score] for column in columns)


def _sentence(table: Table, way: str) -> str:
    found = all_rounds(table, way)
    if math.isnan(found.mean):
        return f"{table.spec.rows[way]}: no replicate has finished all rounds."
    return (
        f"{table.spec.rows[way]}: {_say(found.mean, '+')} PQ over all rounds after the first against as many random "
        f"ones (95 % interval {_interval(found) or 'not known'}, {found.count} replicates)."
    )


def _with_interval(found: Difference) -> str:
    interval = _interval(found)
    return _say(found.mean, "+") + (f" ({interval})" if interval else "")


def _interval(found: Difference) -> str:
    return "" if math.isnan(found.low) else f"{_say(found.low, '+')} to {_say(found.high, '+')}"


def _say(value: float, sign: str = "") -> str:
    return "—" if math.isnan(value) else f"{value:{sign}.3f}"
