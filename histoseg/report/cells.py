"""Records laid out as the cells of one table, with mean, spread, interval and the published number.

Nothing here knows which experiment it is: a `TableSpec` names rows, columns and methods.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from histoseg.errors import DataError
from histoseg.report.records import Address, Record

NOT_FINISHED = "not finished"
ONE_STATE = "report one state of data and code at a time"


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """What a table asks for. Mappings go from the name in a run to the title in print, in the order of printing.

    Attributes:
        rows: New tasks.
        columns: Predecessor sets, as in `Run.column`.
        methods: The methods compared in each cell.
        not_applicable: Pairs of row and column that cannot be, printed as NA.
        paper: Published mIoU by address; empty if there is none.
        citation: Where those numbers are from.
        paper_note: How they may be compared with ours.
    """

    title: str
    rows: Mapping[str, str]
    columns: Mapping[str, str]
    methods: Mapping[str, str]
    not_applicable: frozenset[tuple[str, str]] = frozenset()
    paper: Mapping[Address, float] = field(default_factory=dict)
    citation: str = ""
    paper_note: str = ""

    @property
    def addresses(self) -> list[Address]:
        """Every cell that can be, row by row."""
        return [
            Address(row, column, method)
            for row in self.rows
            for column in self.columns
            if (row, column) not in self.not_applicable
            for method in self.methods
        ]

    @property
    def own_rows(self) -> tuple[str, ...]:
        """The rows that are not only quoted."""
        return tuple(self.rows)

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """Every cell that can be, row by row, with columns as in `Run.column`."""
        return tuple((row, f"{column}.{method}") for row, column, method in self.addresses)

    def title_of(self, address: Address) -> str:
        """The cell in words."""
        row, column, method = address
        return f"{self.rows[row]} after {self.columns[column]}, {self.methods[method]}"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """All seeds of one address.

    Attributes:
        records: One per seed, by seed; empty if the cell is missing.
        paper: The published number, or None if there is none.
        reason: Why the cell is missing; empty if it is not.
    """

    address: Address
    records: tuple[Record, ...]
    paper: float | None
    reason: str

    @property
    def mean(self) -> float:
        """Pooled mIoU, averaged over seeds; nan if the cell is missing."""
        return self.mean_of("miou_pooled")

    def mean_of(self, score: str) -> float:
        """A field of `Scores` averaged over seeds; nan if the cell is missing."""
        return average(getattr(record.scores, score) for record in self.records)

    @property
    def sd(self) -> float | None:
        """Sample standard deviation over seeds (n - 1), or None below two seeds."""
        scores = [record.scores.miou_pooled for record in self.records]
        return statistics.stdev(scores) if len(scores) > 1 else None

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % interval over test images; with several seeds, each end is averaged over them."""
        low, high = (average(record.scores.interval[end] for record in self.records) for end in (0, 1))
        return low, high

    @cached_property
    def per_class(self) -> tuple[float, ...]:
        """Pooled IoU by class, averaged over seeds."""
        return tuple(average(scores) for scores in zip(*(r.scores.per_class for r in self.records), strict=True))


def average(values: Iterable[float]) -> float:
    """Their mean; nan if there are none."""
    found = list(values)
    return statistics.fmean(found) if found else float("nan")


def collect_cells(
    spec: TableSpec, records: Sequence[Record], missing: Mapping[Address, str] | None = None
) -> dict[Address, Cell]:
    """Every cell of the table, finished or not.

    Args:
        spec: What the table asks for.
        records: What is finished; any order.
        missing: Why a cell has no record, where that is known; others are "not finished".

    Raises:
        DataError: If a record has no place in the table, or two are of the same cell and seed.
    """
    places: dict[Address, dict[int, Record]] = {address: {} for address in spec.addresses}
    for record in records:
        if record.address not in places:
            raise DataError(f"record {record.header.cell}: {record.address} has no place in the table {spec.title!r}")
        seeds = places[record.address]
        if (other := seeds.get(record.header.seed)) is not None:
            raise DataError(
                f"records {other.header.cell} and {record.header.cell} are both {spec.title_of(record.address)}, seed "
                f"{record.header.seed}; {ONE_STATE}"
            )
        seeds[record.header.seed] = record
    return {
        address: Cell(
            address=address,
            records=tuple(seeds[seed] for seed in sorted(seeds)),
            paper=spec.paper.get(address),
            reason="" if seeds else (missing or {}).get(address, NOT_FINISHED),
        )
        for address, seeds in places.items()
    }


def best_methods(spec: TableSpec, cells: Mapping[Address, Cell], row: str, column: str) -> frozenset[str]:
    """The methods with the highest mean in this row and column; empty while fewer than two are finished."""
    means = {
        method: mean for method in spec.methods if not math.isnan(mean := cells[Address(row, column, method)].mean)
    }
    return leaders(means) if len(means) > 1 else frozenset()


def leaders(scores: Mapping[str, float]) -> frozenset[str]:
    """The names with the highest score: several if it is the same, none if there is no score."""
    return frozenset(name for name, score in scores.items() if score == max(scores.values()))


def whole_pairs(spec: TableSpec, scores: Mapping[Address, float]) -> list[dict[str, float]]:
    """The scores by method of each row and column that has one of every method: what methods can be compared on."""
    places = dict.fromkeys((address.new_task, address.column) for address in spec.addresses)
    pairs = ({m: scores[a] for m in spec.methods if (a := Address(*place, m)) in scores} for place in places)
    return [pair for pair in pairs if len(pair) == len(spec.methods)]


def count_wins(spec: TableSpec, pairs: Sequence[Mapping[str, float]]) -> dict[str, int]:
    """In how many pairs each method alone is best."""
    ahead = [leaders(pair) for pair in pairs]
    return {method: sum(names == {method} for names in ahead) for method in spec.methods}


def summarise(spec: TableSpec, cells: Mapping[Address, Cell]) -> list[str]:
    """Sentences: which method is ahead how often, ours and the paper's; how many cells are finished."""
    ours = {address: cell.mean for address, cell in cells.items() if not math.isnan(cell.mean)}
    lines = [f"{sum(bool(cell.records) for cell in cells.values())} of {len(cells)} cells are finished."]
    for whose, scores in (("Here", ours), ("In the paper", spec.paper)):
        if pairs := whole_pairs(spec, scores):
            ahead = ", ".join(f"{spec.methods[method]} in {n}" for method, n in count_wins(spec, pairs).items())
            means = ", ".join(
                f"{title} {average(pair[method] for pair in pairs):.4f}" for method, title in spec.methods.items()
            )
            lines.append(f"{whose}, of {len(pairs)} pairs the better method is {ahead}. Mean over these: {means}.")
    return [*lines, *_say_overlap(spec, cells)]


def _say_overlap(spec: TableSpec, cells: Mapping[Address, Cell]) -> list[str]:
    pairs: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for address, cell in cells.items():
        if not math.isnan(cell.interval[0]):
            pairs.setdefault((address.new_task, address.column), []).append(cell.interval)
    whole = [intervals for intervals in pairs.values() if len(intervals) == len(spec.methods) > 1]
    overlap = sum(max(low for low, _ in pair) <= min(high for _, high in pair) for pair in whole)
    return [f"In {overlap} of {len(whole)} pairs the methods' intervals overlap."] if whole else []


def explain(spec: TableSpec) -> list[str]:
    """How to read a cell."""
    lines = [
        "mIoU over all pixels of all test images (MetaHistoSeg, Eq. 1); ± is the standard deviation over seeds; "
        "brackets are the 95 % bootstrap interval over test images; bold is the better method of a pair."
    ]
    if spec.paper:
        lines.append(f"“paper” is the number in {spec.citation}. {spec.paper_note}".strip())
    return lines
