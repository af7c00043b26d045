"""What lies near what on a slide."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar, runtime_checkable

BUCKET_PX = 512  # Things are compared with those that share a square of this size.


@runtime_checkable
class Placed(Protocol):
    """What covers a rectangle of the slide."""

    @property
    def top(self) -> int: ...

    @property
    def left(self) -> int: ...

    @property
    def shape(self) -> tuple[int, ...]: ...


Thing = TypeVar("Thing", bound=Placed)


class Nearby(Generic[Thing]):
    """Things by the squares that they cover."""

    def __init__(self, things: Iterable[Thing]) -> None:
        self.buckets: dict[tuple[int, int], list[Thing]] = defaultdict(list)
        for thing in things:
            self.add(thing)

    def add(self, thing: Thing) -> None:
        for square in _squares((thing.top, thing.left), thing.shape, 0):
            self.buckets[square].append(thing)

    def of(self, corner: tuple[int, int], shape: tuple[int, ...], margin_px: int = 0) -> list[Thing]:
        """What may overlap a rectangle, each once."""
        found = [thing for square in _squares(corner, shape, margin_px) for thing in self.buckets.get(square, ())]
        return list({id(thing): thing for thing in found}.values())


def _squares(corner: tuple[int, int], shape: tuple[int, ...], margin_px: int) -> Iterator[tuple[int, int]]:
    rows, columns = (
        range((start - margin_px) // BUCKET_PX, (start + side + margin_px) // BUCKET_PX + 1)
        for start, side in zip(corner, shape, strict=False)
    )
    return ((row, column) for row in rows for column in columns)
