"""A table: what an experiment asks for, and its cells. What only one has is a function in its `TableSpec`."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from histoseg.records.schema import Record
from histoseg.report.cell import Cell, CellKey, Interval, Published
from histoseg.report.section import Section


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A score to compare with: a row of the table where rows are compared, a dotted line in the figure of scores.

    Attributes:
        meaning: A sentence for the figure's caption.
        score: The baseline of cells that stand in one column (one row, where columns are compared); nan without one.
    """

    title: str
    meaning: str
    score: Callable[[Sequence[Cell]], float]


@dataclass(frozen=True, kw_only=True)
class Paper:
    """Published numbers.

    Attributes:
        only: Rows that are only quoted: methods that are not part of this project.
        score: The score of our records that the numbers are to be compared with and what it is, if it is not the one
            that the table shows.
    """

    citation: str = ""
    numbers: Mapping[CellKey, Published] = field(default_factory=dict)
    only: frozenset[str] = frozenset()
    score: tuple[str, str] | None = None


NO_PAPER = Paper()


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Numbers that columns stand for, such as numbers of images; scores are drawn as curves over them.

    Attributes:
        is_log: Whether equal ratios of numbers are equally far apart.
        goal: A score at which a dashed line is drawn; nan without one.
        confidence: Of the band around each curve, in which the mean lies; 0 means bars of the standard deviation.
    """

    title: str
    values: Mapping[str, int | float]
    is_log: bool = False
    goal: float = math.nan
    confidence: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """What a table asks for. Mappings go from the name in a record to the title in print, in the order of printing.

    Attributes:
        row_name: What a row is, as a heading.
        compared: What a reader compares, the best in bold: the rows of a column, and each group of columns is a table
            of its own; or the columns of a group, and all groups are side by side.
        score: The score that a run with a column shows; a run without one fills the columns named like its scores;
            a column may also be a score of one class, "name.class".
        score_title: What the numbers are, for axes of figures.
        not_applicable: Cells that cannot be, printed as NA.
        notes: What a reader must know, one sentence each.
        class_scores: Titles of the scores of single classes that are printed.
        structure: The structure that a column scores; empty without structures.
        keeps_model: Whether the network of the first run is put beside the page, ready to predict with.
    """

    title: str
    row_name: str
    rows: Mapping[str, str]
    groups: Mapping[str, Mapping[str, str]]
    compared: Literal["rows", "columns"] = "rows"
    score: str = ""
    score_title: str = "score"
    replicates: str = "seeds"
    not_applicable: frozenset[CellKey] = frozenset()
    paper: Paper = NO_PAPER
    notes: tuple[str, ...] = ()
    interval: Interval | None = None
    baseline: Baseline | None = None
    class_scores: Mapping[str, str] = field(default_factory=dict)
    structure: Callable[[str], str] = lambda _column: ""
    x_axis: Axis | None = None
    keeps_model: bool = False
    sentences: tuple[Callable[["Table"], Sequence[str]], ...] = ()
    sections: tuple[Callable[["Table"], Section], ...] = ()

    @property
    def columns(self) -> dict[str, str]:
        """Titles of all columns, group by group."""
        return {column: title for group in self.groups.values() for column, title in group.items()}

    @property
    def column_name(self) -> str:
        """What `place_of` says of a record's column, as a heading."""
        return "Column" if self.score else "Structures"

    @property
    def keys(self) -> tuple[CellKey, ...]:
        """Every cell that can be, row by row."""
        found = ((row, column) for row in self.rows for column in self.columns)
        return tuple(key for key in found if key not in self.not_applicable)

    def has_cell(self, column: str) -> bool:
        """Whether runs with that column fill cells; without one they do so by scores that columns are named like."""
        return bool(column) or not self.score

    def keys_of(self, column: str) -> tuple[CellKey, ...]:
        """Every cell of a column that can be."""
        return tuple(key for key in self.keys if key[1] == column)

    @property
    def places(self) -> tuple[CellKey, ...]:
        """Every cell that the experiment is to fill: all but rows that are only quoted."""
        return tuple(key for key in self.keys if key[0] not in self.paper.only)

    @property
    def comparisons(self) -> tuple[tuple[CellKey, ...], ...]:
        """The places that are compared with each other."""
        found: dict[tuple[str, str], list[CellKey]] = {}
        for row, column in self.places:
            compared = ("", column) if self.compared == "rows" else (row, self.group_of(column))
            found.setdefault(compared, []).append((row, column))
        return tuple(map(tuple, found.values()))

    def group_of(self, column: str) -> str:
        """The title of a column's group."""
        return next(title for title, group in self.groups.items() if column in group)

    def title_of(self, key: CellKey) -> str:
        """A cell in words."""
        row, column = key
        return ", ".join(filter(None, (self.rows[row], self.group_of(column), self.columns[column])))

    def place_of(self, record: Record) -> tuple[str, str]:
        """A record's row in words, and its column, or the structures that it scores."""
        if record.column:
            words = [self.group_of(record.column), self.columns[record.column]]
        else:
            words = list(dict.fromkeys(self.structure(name) for name in record.scores))
        return self.rows[record.row], ", ".join(filter(None, words))


@dataclass(frozen=True, kw_only=True)
class Table:
    """The cells of a table, finished or not, and the records they come from in the order of printing.

    Attributes:
        measured: Records that stand in no cell: they hold measures, which sections may show.
    """

    spec: TableSpec
    cells: Mapping[CellKey, Cell]
    records: tuple[Record, ...]
    measured: tuple[Record, ...] = ()

    @property
    def own_cells(self) -> tuple[Cell, ...]:
        """The cells that the experiment is to fill."""
        return tuple(self.cells[key] for key in self.spec.places)

    def means(self, keys: Iterable[CellKey]) -> dict[CellKey, float]:
        """The means of those cells that are finished."""
        cells = {key: self.cells[key] for key in keys}
        return {key: cell.mean for key, cell in cells.items() if cell.is_finished and not cell.reason}

    def published(self, keys: Iterable[CellKey]) -> dict[CellKey, float]:
        """The published means of those cells, as far as there are any."""
        return {key: self.spec.paper.numbers[key][0] for key in keys if key in self.spec.paper.numbers}

    @cached_property
    def best(self) -> frozenset[CellKey]:
        """The highest finished mean of each comparison, several if equal; none where fewer than two are finished."""
        compared = (self.means(keys) for keys in self.spec.comparisons)
        return frozenset(key for means in compared if len(means) > 1 for key in leaders(means))

    def baseline_of(self, keys: Iterable[CellKey]) -> float:
        """The baseline of cells that stand in one column (or row); nan if there is none."""
        return math.nan if self.spec.baseline is None else self.spec.baseline.score([self.cells[key] for key in keys])


def leaders(scores: Mapping[CellKey, float]) -> frozenset[CellKey]:
    """The cells with the highest score: several if it is the same, none if there is no score."""
    return frozenset(key for key, score in scores.items() if score == max(scores.values()))
