"""The reviewed list of mutants that no test can notice, as they compute the same."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("equivalent.toml")
Identity = tuple[str, str, str, int]  # As `Mutant.identity`.


@dataclass(frozen=True, kw_only=True)
class Equivalent:
    """One mutant of the list.

    Attributes:
        module: Its file, from the repository's root.
        function, was, becomes, nth: As in `Mutant`.
        why: Why the change computes the same.
    """

    module: str
    function: str
    was: str
    becomes: str
    why: str
    nth: int = 1

    @property
    def identity(self) -> Identity:
        """By which the mutant is found, wherever in its function it is."""
        return self.function, self.was, self.becomes, self.nth


def read_equivalents(module: str) -> dict[Identity, Equivalent]:
    """Those of one module."""
    listed = [Equivalent(**entry) for entry in tomllib.loads(LIST.read_text()).get("equivalent", [])]
    return {entry.identity: entry for entry in listed if entry.module == module}
