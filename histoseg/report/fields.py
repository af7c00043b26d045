"""Fields of a stored JSON object as typed values; what cannot be is told by its place and what was expected."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from histoseg.errors import DataError

Value = TypeVar("Value")


@dataclass(frozen=True)
class Part:
    """One object of a record, and where it stands for the text of an error."""

    values: Mapping[str, Any]
    where: str
    path: str = ""

    def error(self, name: str, expected: str) -> DataError:
        """What to raise of a field."""
        found = repr(self.values[name])[:80] if name in self.values else "missing"
        return DataError(f"{self.where}: field {self.path}{name} is {found}; expected {expected}")

    def get(self, name: str, convert: Callable[[Any], Value]) -> Value:
        """The field's value; `convert` raises ValueError with what it expected."""
        try:
            return convert(self.values[name])
        except KeyError:
            raise self.error(name, "a value; was it written by another version?") from None
        except ValueError as error:
            raise self.error(name, str(error)) from error

    def part(self, name: str) -> "Part":
        """The object in a field."""
        return Part(self.get(name, mapping), self.where, f"{self.path}{name}.")

    def parts(self, name: str) -> list["Part"]:
        """The objects of a list."""
        return [
            Part(values, self.where, f"{self.path}{name}[{i}].")
            for i, values in enumerate(self.get(name, each(mapping)))
        ]

    def named_parts(self, name: str) -> dict[str, "Part"]:
        """The objects of an object, by name."""
        inside = self.part(name)
        return {key: inside.part(key) for key in inside.values}

    def points(self, name: str, x: str, y: str) -> tuple[tuple[int, float], ...]:
        """The two named numbers of each object of a list: a curve."""
        return tuple((part.get(x, integer), part.get(y, number_or_nan)) for part in self.parts(name))


def require(claim: bool, expected: str) -> None:
    """Refuse a value that is not as claimed."""
    if not claim:
        raise ValueError(expected)


def text(value: Any) -> str:
    """A text."""
    require(isinstance(value, str), "a text")
    return str(value)


def integer(value: Any) -> int:
    """A whole number."""
    require(isinstance(value, int) and not isinstance(value, bool), "a whole number")
    return int(value)


def count(value: Any) -> int:
    """A whole number, 0 or more."""
    require(integer(value) >= 0, "a whole number, 0 or more")
    return int(value)


def number(value: Any) -> float:
    """A number."""
    require(isinstance(value, int | float) and not isinstance(value, bool), "a number")
    return float(value)


def number_or_nan(value: Any) -> float:
    """JSON has no nan, so null stands for it."""
    return math.nan if value is None else number(value)


def score(value: Any) -> float:
    """A number within 0 and 1, or nan."""
    found = number_or_nan(value)
    require(math.isnan(found) or 0 <= found <= 1, "a number within 0 and 1, or null where it is undefined")
    return found


def mapping(value: Any) -> Mapping[str, Any]:
    """An object."""
    require(isinstance(value, Mapping), "an object")
    return dict(value)


def named(convert: Callable[[Any], Value]) -> Callable[[Any], Mapping[str, Value]]:
    """An object of such values."""
    return lambda value: {name: convert(item) for name, item in mapping(value).items()}


def each(convert: Callable[[Any], Value]) -> Callable[[Any], tuple[Value, ...]]:
    """A list of such values."""

    def convert_all(value: Any) -> tuple[Value, ...]:
        require(isinstance(value, list | tuple), "a list")
        return tuple(convert(item) for item in value)

    return convert_all


def exactly(num_items: int, items: Iterable[Value]) -> tuple[Value, ...]:
    """As many items and no other number of them."""
    found = tuple(items)
    require(len(found) == num_items, f"a list of {num_items}")
    return found
