"""Records over folds laid out as the numbers of one table: mean and spread over divisions, the paper's, a baseline."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from histoseg.errors import DataError
from histoseg.report.cells import NOT_FINISHED, ONE_STATE, average, leaders
from histoseg.report.fold_records import Division, FoldRecord
from histoseg.report.fold_spec import FoldTableSpec, Place

PAPER_ONLY = "the paper's number only"
OTSU = "Otsu threshold"


@dataclass(frozen=True, kw_only=True)
class Number:
    """All divisions and seeds of one place.

    Attributes:
        records: What scores it, by division.
        planned: The divisions that it is the mean of when all are finished.
        paper: The published mean and standard deviation, or None if there are none.
        reason: Why there is no mean; empty if there is one.
    """

    place: Place
    records: Mapping[Division, FoldRecord]
    planned: tuple[Division, ...]
    paper: tuple[float, float] | None
    reason: str

    @property
    def scores(self) -> dict[Division, float]:
        """Where the score is defined."""
        scores = {division: record.scores[self.place.column] for division, record in self.records.items()}
        return {division: score for division, score in scores.items() if not math.isnan(score)}

    @property
    def mean(self) -> float:
        """Over divisions and seeds; nan if there is none."""
        return average(self.scores.values())

    @property
    def sd(self) -> float | None:
        """Sample standard deviation over divisions and seeds (n - 1), or None below two."""
        return statistics.stdev(self.scores.values()) if len(self.scores) > 1 else None

    @property
    def is_finished(self) -> bool:
        """Whether every division that belongs to it has a record."""
        return bool(self.records) and all(division in self.records for division in self.planned)


@dataclass(frozen=True, kw_only=True)
class FoldTable:
    """A table over folds.

    Attributes:
        numbers: Every place of the table, finished or not.
        otsu: What Otsu's threshold scores, by column of PQ.
        twins: Rows that come from the same trainings, as their configurations are the same.
    """

    spec: FoldTableSpec
    numbers: Mapping[Place, Number]
    otsu: Mapping[str, float]
    twins: tuple[tuple[str, ...], ...]

    @property
    def own_rows(self) -> tuple[str, ...]:
        """The rows that are not only quoted."""
        return tuple(row for row in self.spec.rows if row not in self.spec.paper_only)

    @property
    def own_numbers(self) -> tuple[Number, ...]:
        """What the experiment is to find."""
        return tuple(number for place, number in self.numbers.items() if place.row in self.own_rows)

    def means(self, column: str) -> dict[str, float]:
        """Our means in a column, by row, as far as all of their divisions are finished."""
        numbers = {row: self.numbers[Place(row, column)] for row in self.own_rows}
        return {row: number.mean for row, number in numbers.items() if number.is_finished and not number.reason}

    def paper_means(self, column: str) -> dict[str, float]:
        """The paper's means in a column, by row."""
        return {row: self.spec.paper[row, column][0] for row in self.spec.rows if (row, column) in self.spec.paper}

    def best_rows(self, column: str) -> frozenset[str]:
        """The rows of ours with the highest mean in a column; empty while fewer than two are finished."""
        means = self.means(column)
        return leaders(means) if len(means) > 1 else frozenset()


def collect_numbers(
    spec: FoldTableSpec,
    records: Sequence[FoldRecord],
    planned: Mapping[str, Sequence[Division]] | None = None,
    missing: Mapping[Place, str] | None = None,
) -> FoldTable:
    """Every number of the table.

    Args:
        spec: What the table asks for.
        records: What is finished; any order.
        planned: The divisions that each row is to be trained on; by default those that are finished.
        missing: Why a number cannot be had, where that is known; others are "not finished".

    Raises:
        DataError: If a record has no row in the table, or two score the same place in the same division.
    """
    for record in records:
        if record.row not in spec.rows:
            raise DataError(f"record {record.header.cell}: {record.row} is no row of the table {spec.title!r}")
    numbers = {
        place: Number(
            place=place,
            records=_records_of(spec, place, records),
            planned=tuple((planned or {}).get(place.row, ())),
            paper=spec.paper.get(place),
            reason=_why_missing(spec, place, records, (missing or {}).get(place, "")),
        )
        for place in spec.places
    }
    otsu = {column: average(_otsu_by_fold(column, records).values()) for column in spec.columns}
    known = {column: score for column, score in otsu.items() if not math.isnan(score)}
    return FoldTable(spec=spec, numbers=numbers, otsu=known, twins=_find_twins(spec, records))


def _records_of(spec: FoldTableSpec, place: Place, records: Sequence[FoldRecord]) -> dict[Division, FoldRecord]:
    """What scores a place. A row may have a network for each structure: each scores its own columns."""
    found: dict[Division, FoldRecord] = {}
    for record in records:
        if record.row != place.row or place.column not in record.scores:
            continue
        if (other := found.get(record.division)) is not None:
            raise DataError(
                f"records {other.header.cell} and {record.header.cell} are both {spec.title_of(place)}, "
                f"{name_division(record.division)}; {ONE_STATE}"
            )
        found[record.division] = record
    return {division: found[division] for division in sorted(found)}


def _why_missing(spec: FoldTableSpec, place: Place, records: Sequence[FoldRecord], reason: str) -> str:
    row, column = place
    own = [record for record in records if record.row == row]
    scores = [record.scores[column] for record in own if column in record.scores]
    if not all(math.isnan(score) for score in scores):
        return ""
    if row in spec.paper_only:
        return PAPER_ONLY
    if scores:
        return "undefined"
    is_trained = any(column.split(".")[1] in record.structures for record in own)
    return reason or ("not scored" if is_trained else NOT_FINISHED)


def _otsu_by_fold(column: str, records: Sequence[FoldRecord]) -> dict[str, float]:
    """What Otsu's threshold scores on each fold; every network is scored on the same images of it."""
    split, structure, score = column.split(".")
    name = f"{split}.{structure}.otsu_pq"
    return {r.division.test: r.scores[name] for r in records if score == "pq" and name in r.scores}


def _find_twins(spec: FoldTableSpec, records: Sequence[FoldRecord]) -> tuple[tuple[str, ...], ...]:
    rows_of: dict[frozenset[str], list[str]] = {}
    for row in spec.rows:
        if trainings := frozenset(record.header.pretraining for record in records if record.row == row):
            rows_of.setdefault(trainings, []).append(row)
    return tuple(tuple(rows) for rows in rows_of.values() if len(rows) > 1)


def name_division(division: Division) -> str:
    """The division in words."""
    return f"trained on {' and '.join(division.train)}, scored on {division.test}, seed {division.seed}"


def say_finished(table: FoldTable) -> str:
    """How much of the table is there, without a full stop."""
    own = table.own_numbers
    num_parts = sum(bool(number.records) and not number.is_finished for number in own)
    started = f", {num_parts} more in part" if num_parts else ""
    return f"{sum(number.is_finished for number in own)} of {len(own)} numbers are finished{started}"


def summarise(table: FoldTable) -> list[str]:
    """Sentences: how much is finished, which rows lead, and how sure that is."""
    return [
        f"{say_finished(table)}.",
        *_say_leaders(table),
        *_say_margins(table),
        *_say_otsu(table),
        *(
            f"{' and '.join(table.spec.rows[row] for row in rows)} come from the same trainings: what tells them apart "
            "is left out at this scale."
            for rows in table.twins
        ),
    ]


def _say_leaders(table: FoldTable) -> list[str]:
    lines, ahead = [], {}
    for whose, means_of in (("Here", table.means), ("In the paper", table.paper_means)):
        means = {column: found for column in table.spec.columns if len(found := means_of(column)) > 1}
        ahead[whose] = {column: leaders(found) for column, found in means.items()}
        counts = {row: sum(row in best for best in ahead[whose].values()) for row in table.spec.rows}
        led = ", ".join(f"{table.spec.rows[row]} in {count}" for row, count in counts.items() if count)
        if means:
            lines.append(f"{whose}, of {len(means)} columns the highest mean is that of {led} (ties count for each).")
    here, paper = ahead.values()
    if both := here.keys() & paper.keys():
        same = sum(bool(here[column] & paper[column]) for column in both)
        lines.append(f"In {same} of {len(both)} columns the row that leads in the paper leads here too.")
    return lines


def _say_margins(table: FoldTable) -> list[str]:
    """In how many columns the lead is larger than the spread."""
    margins = []
    for column in table.spec.columns:
        own = [table.numbers[Place(row, column)] for row in table.means(column)]
        ranked = sorted((number for number in own if number.sd is not None), key=lambda number: -number.mean)
        if len(ranked) > 1:
            first, second = ranked[:2]
            margins.append(first.mean - second.mean > max(first.sd or 0, second.sd or 0))
    return [
        f"In {sum(margins)} of {len(margins)} columns the leader is ahead of the next row by more than the larger of "
        "their standard deviations."
    ] if margins else []  # fmt: skip


def _say_otsu(table: FoldTable) -> list[str]:
    pairs = [(mean, otsu) for column, otsu in table.otsu.items() for mean in table.means(column).values()]
    above = sum(mean > otsu for mean, otsu in pairs)
    return [f"{above} of {len(pairs)} PQ are above that of Otsu's threshold."] if pairs else []


def explain(table: FoldTable) -> list[str]:
    """How to read a number."""
    lines = {
        "± is the sample standard deviation over divisions of the folds and seeds.": any(
            number.sd is not None for number in table.own_numbers
        ),
        "Bold is the highest mean of our finished rows in a column.": len(table.own_rows) > 1,
        f"“paper” is mean ± standard deviation in {table.spec.citation}.": bool(table.spec.paper),
    }
    return [line for line, is_needed in lines.items() if is_needed]
