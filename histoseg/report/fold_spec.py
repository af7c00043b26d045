"""What a table over folds asks for: rows are ways to train, columns are scores of structures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Place(NamedTuple):
    """Where a number stands: a row, and a column "split.structure.score"."""

    row: str
    column: str


@dataclass(frozen=True, kw_only=True)
class FoldTableSpec:
    """A table whose numbers are mean ± standard deviation over divisions of the folds.

    Attributes:
        title: What the table shows.
        rows: Titles by `FoldRun.row`, in the order of printing.
        blocks: Titled groups of columns; each maps "split.structure.score" to a title. A score is a name in a record's
            "scores", for example "test.nuclei.pq".
        paper: Published mean and standard deviation by row and column.
        citation: Where those are from.
        paper_only: Rows that are only quoted: methods that are not part of this project.
        notes: What a reader must know, one sentence each.
        keeps_model: Whether the network of the first run is put beside the page, ready to predict with.
    """

    title: str
    rows: Mapping[str, str]
    blocks: Mapping[str, Mapping[str, str]]
    paper: Mapping[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    citation: str = ""
    paper_only: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    keeps_model: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column, block by block."""
        return tuple(column for block in self.blocks.values() for column in block)

    @property
    def own_rows(self) -> tuple[str, ...]:
        """The rows that are not only quoted."""
        return tuple(row for row in self.rows if row not in self.paper_only)

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """Every number by row and column, row by row."""
        return self.places

    @property
    def places(self) -> tuple[Place, ...]:
        """Every number, row by row."""
        return tuple(Place(row, column) for row in self.rows for column in self.columns)

    def title_of(self, place: Place) -> str:
        """The number in words."""
        block, titles = next((block, titles) for block, titles in self.blocks.items() if place.column in titles)
        return f"{self.rows[place.row]}, {titles[place.column]} ({block.lower()})"
