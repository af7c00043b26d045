"""The reviewed list of mutants that no test can notice, as they compute the same."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("equivalent.toml")
Identity = tuple[str, str, str, int]  # As `Mutant.identity`.


@dataclass(frozen=True, kw_only=True)
class Equivalent:
    """Changes of one place that share a reason.

    Attributes:
        module: The file, from the repository's root.
        function, was, nth: As in `Mutant`.
        becomes: As in `Mutant`, for each change.
        why: Why the changes compute the same.
    """

    module: str
    function: str
    was: str
    becomes: list[str]
    why: str
    nth: int = 1


def read_equivalents(module: str) -> dict[Identity, str]:
    """The reasons for those of one module."""
    listed = [Equivalent(**entry) for entry in tomllib.loads(LIST.read_text()).get("equivalent", [])]
    return {
        (entry.function, entry.was, becomes, entry.nth): entry.why
        for entry in listed
        if entry.module == module
        for becomes in entry.becomes
    }
