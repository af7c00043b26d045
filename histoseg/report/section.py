"""What a page consists of: sections of text, tables and pictures, without markup."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

NO_CONTENT = ("name", "heading", "has_small_photos")  # Of a section


@dataclass(frozen=True, kw_only=True)
class GridCell:
    """One place of the main table as text.

    Attributes:
        score: The mean, or what stands for it; empty for numbers that are only quoted.
        spread: The standard deviation, and how many replicates are finished if not all are.
        below: The interval and the published number, as far as there are any.
        has_result: Whether `score` is a mean of finished runs.
    """

    score: str = ""
    is_best: bool = False
    spread: str = ""
    reason: str = ""
    below: tuple[str, ...] = ()
    has_result: bool = False


@dataclass(frozen=True, kw_only=True)
class GridRow:
    """One row of the main table; a baseline row is not a result of the experiment."""

    title: str
    cells: tuple[GridCell, ...]
    is_baseline: bool = False


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The main table, or one group of its columns.

    Attributes:
        corner: The heading of the rows' titles.
        groups: Titles of groups that stand side by side, with the number of columns of each; empty for a single group.
    """

    title: str
    corner: str
    groups: Mapping[str, int]
    heads: tuple[str, ...]
    rows: tuple[GridRow, ...]

    @property
    def starts(self) -> frozenset[int]:
        """The columns with which a group begins."""
        sizes = list(self.groups.values())
        return frozenset(sum(sizes[:i]) for i in range(len(sizes)))


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A plain table.

    Attributes:
        kinds: What each column holds: "head" (the name of the row), "text", "number", "code" or "colour".
        summary: If given, the table is folded away under this text.
        is_wide: Whether there are many columns: headings take several lines, the name of a row one, always in sight.
        hints: What a heading shows under the pointer; empty, or one for each column.
    """

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    kinds: Sequence[str]
    summary: str = ""
    hints: Sequence[str] = ()
    is_wide: bool = False


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG file with its caption, and the text that replaces it for a reader who cannot see it."""

    name: str
    png: bytes
    alt: str
    caption: str

    @property
    def base64(self) -> str:
        """The file as text, for a page that carries it along."""
        return b64encode(self.png).decode()


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A JPEG file that stands beside others; its text also replaces it for a reader who cannot see it."""

    jpeg: bytes
    caption: str

    @property
    def base64(self) -> str:
        """The file as text, for a page that carries it along."""
        return b64encode(self.jpeg).decode()


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page under a heading; its contents appear in the order of these fields.

    Attributes:
        name: What links to the section point to.
        has_small_photos: Whether photos are thumbnails, several in a row.
    """

    name: str
    heading: str
    facts: Sequence[tuple[str, str]] = ()
    paragraphs: Sequence[str] = ()
    code: str = ""
    grids: Sequence[Grid] = ()
    bullets: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    listings: Sequence[Listing] = ()
    photos: Sequence[Photo] = ()
    has_small_photos: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing below the heading."""
        return not any(getattr(self, field.name) for field in fields(self) if field.name not in NO_CONTENT)
