"""What a table over folds asks for: rows are ways to train, columns are scores of structures."""

from collections.abc import Mapping
from dataclasses import dataclass, field


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
    """

    title: str
    rows: Mapping[str, str]
    blocks: Mapping[str, Mapping[str, str]]
    paper: Mapping[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    citation: str = ""
    paper_only: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column, block by block."""
        return tuple(column for block in self.blocks.values() for column in block)
