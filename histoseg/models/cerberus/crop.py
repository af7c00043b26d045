"""What of the encoder's features a decoder needs for the middle of a window.

A window has a margin of context, which the encoder needs. A decoder looks only a few pixels far, so of each level's
features it takes the part that the middle depends on. In a window of 1024 pixels whose middle has 720, decoders then do
half of the work, and every pixel of the middle is computed from the same numbers.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from histoseg.maps.windows import Window

LEVELS = 5  # Of features, each half as large as the one before
REACH_PX = 2  # How far the two 3x3 convolutions of a decoder's stage look
Span = tuple[int, int]  # The first row or column, and the first beyond


@dataclass(frozen=True, kw_only=True)
class Level:
    """Rows, or columns, of one level.

    Attributes:
        first: Where the features that come from the level below begin.
        seen: What the level's convolutions see.
        kept: What the next level needs of their result.
    """

    first: int
    seen: Span
    kept: Span


@dataclass(frozen=True)
class Crop:
    """The parts of all levels, the largest first."""

    rows: tuple[Level, ...]
    columns: tuple[Level, ...]

    def enter(
        self, level: int, below: Float[Tensor, "B C H W"], skip: Float[Tensor, "B C I J"]
    ) -> Float[Tensor, "B C K L"]:
        """The sum of what comes from the level below and of the encoder's features, where convolutions see it."""
        rows, columns = self.rows[level], self.columns[level]
        return _cut(below, rows.seen, columns.seen, (rows.first, columns.first)) + _cut(skip, rows.seen, columns.seen)

    def leave(self, level: int, x: Float[Tensor, "B C K L"]) -> Float[Tensor, "B C M N"]:
        """What the next level needs of a level's result."""
        rows, columns = self.rows[level], self.columns[level]
        return _cut(x, rows.kept, columns.kept, (rows.seen[0], columns.seen[0]))

    def smallest(self, x: Float[Tensor, "B C I J"]) -> Float[Tensor, "B C M N"]:
        """What is needed of the smallest features."""
        return _cut(x, self.rows[-1].kept, self.columns[-1].kept)


def crop_to_core(window: Window) -> Crop:
    """The parts that the middle of a window depends on."""
    rows, columns = (_levels(window.margin_px, side) for side in (window.height, window.width))
    return Crop(rows, columns)


def _levels(margin_px: int, length: int) -> tuple[Level, ...]:
    """The parts of all levels along one side of a window."""
    side, kept = length + 2 * margin_px, (margin_px, margin_px + length)
    found = []
    for _ in range(LEVELS - 1):
        seen = (max(0, kept[0] - REACH_PX), min(side, kept[1] + REACH_PX))
        side //= 2
        # Bilinear: row r, twice as fine, is a mean of rows (r - 1) // 2 and (r + 1) // 2.
        below = (max(0, (seen[0] - 1) // 2), min(side, seen[1] // 2 + 1))
        found.append(Level(first=2 * below[0], seen=seen, kept=kept))
        kept = below
    return (*found, Level(first=kept[0], seen=kept, kept=kept))


def _cut(x: Tensor, rows: Span, columns: Span, first: Span = (0, 0)) -> Tensor:
    """Rows and columns of features that begin at `first`."""
    top, left = first
    return x[:, :, rows[0] - top : rows[1] - top, columns[0] - left : columns[1] - left]
