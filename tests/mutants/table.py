"""What became of the mutants of each module, and the table of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.mutants.equivalent import Identity
from tests.mutants.harness import Outcome

GOAL = 90  # Percent of the mutants that are not equivalent.
OUT_OF_TIME = ("signal SIGKILL", "signal SIGALRM")  # A busy machine may have been the reason.


@dataclass(frozen=True, kw_only=True)
class Result:
    """The mutants of one module.

    Attributes:
        module: Its file, from the repository's root.
        outcomes: What became of each mutant that was run.
        equivalents: The listed ones, and why.
    """

    module: str
    outcomes: Sequence[Outcome]
    equivalents: Mapping[Identity, str]

    @property
    def survivors(self) -> list[Outcome]:
        """Mutants that no test noticed and that are not listed as equivalent."""
        return [outcome for outcome in self.outcomes if not (outcome.killed_by or self._is_listed(outcome))]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Mutants, survivors and listed ones."""
        return len(self.outcomes), len(self.survivors), sum(map(self._is_listed, self.outcomes))

    def wrongly_listed(self) -> Iterator[str]:
        """A line for each listed mutant that a test does notice."""
        for outcome in self.outcomes:
            if outcome.killed_by not in ("", *OUT_OF_TIME) and self._is_listed(outcome):
                yield f"{self.module}, {outcome.function}: {outcome.becomes!r} is noticed by {outcome.killed_by}"

    def no_longer_there(self) -> Iterator[str]:
        """A line for each listed mutant that the module does not have; only right if all mutants were run."""
        for function, was, becomes, nth in self.equivalents.keys() - {outcome.identity for outcome in self.outcomes}:
            yield f"{self.module}, {function}: {was!r} does not become {becomes!r} ({nth}) any more"

    def _is_listed(self, outcome: Outcome) -> bool:
        return outcome.identity in self.equivalents


def percent_killed(mutants: int, survived: int, equivalent: int) -> float:
    """The share that was noticed of the mutants that are not equivalent; 100 if there is none."""
    return 100 * (1 - survived / (mutants - equivalent)) if mutants > equivalent else 100.0


def table(results: Sequence[Result]) -> str:
    """A row for each module and one for all together, in Markdown."""
    rows = [(result.module, result.counts) for result in results]
    mutants, survived, equivalent = (sum(counts) for counts in zip(*(counts for _, counts in rows), strict=True))
    rows.append(("all", (mutants, survived, equivalent)))
    lines = [
        "| module | mutants | killed | survived | equivalent | killed of those not equivalent |",
        "|---|" + "---:|" * 5,
    ]
    for name, (mutants, survived, equivalent) in rows:
        share = f"{percent_killed(mutants, survived, equivalent):.1f} %"
        cells = [name, mutants, mutants - survived - equivalent, survived, equivalent, share]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
