"""What a feature is called and means: one definition each, from which columns and docs/features.md are made."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Level = Literal["gland", "slide", "slide and tissue class"]


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One feature, or one for each class of objects.

    Attributes:
        name: Its column; a part in braces stands for the classes of the model, as {class}.
        unit: As a person writes it; "" for plain numbers.
        meaning: What it is, with its formula.
        level: What has the feature. Columns of a class of tissue end in `_in_<class>`.
        source: The publication that the definition follows; empty for a definition of our own.
        is_count: Whether values are whole numbers.
    """

    name: str
    unit: str
    meaning: str
    level: Level
    source: str = ""
    is_count: bool = False

    def value(self, number: int | float, reason: str, suffix: str = "", **words: str) -> "Value":
        """A value of this feature.

        Args:
            number: Not a number where the feature is undefined.
            reason: Why it is undefined, in that case.
            suffix: What the name of the column ends in: the class of tissue.
            words: What stands for the parts of the name in braces.
        """
        is_defined = math.isfinite(number)
        return Value(
            feature=self,
            column=self.name.format(**words) + suffix,
            number=float(number) if is_defined else None,
            reason="" if is_defined else reason,
        )

    def absent(self, reason: str, suffix: str = "") -> "Value":
        """What stands for all columns of this feature where there is nothing to compute them from."""
        return Value(feature=self, column=self.name + suffix, number=None, reason=reason)


@dataclass(frozen=True, kw_only=True)
class Value:
    """The value of one column; None with the reason where it is undefined."""

    feature: Feature
    column: str
    number: float | None
    reason: str = ""

    @property
    def is_column(self) -> bool:
        """Whether it has a column; otherwise `column` is the pattern of columns that are absent."""
        return "{" not in self.column


def absent(features: tuple[Feature, ...], reason: str, suffix: str = "") -> Iterator[Value]:
    """All these features, for one reason."""
    return (feature.absent(reason, suffix) for feature in features)
