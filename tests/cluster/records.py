"""The records in the store against the cells of an experiment: each exactly once, none replaced, none lost."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from histoseg.experiments._available import assumed
from histoseg.pipeline.plan import load_experiment
from histoseg.sources._declared import load_source

EXPERIMENT, SCALE = "smoke", "laptop"

Cell = tuple[str, str, str]  # Row, column, replicate


@dataclass(frozen=True, kw_only=True)
class StoreState:
    """What the store held at a moment, as the ledger printed it; each by its key."""

    records: dict[str, dict[str, Any]]
    checkpoints: tuple[str, ...] = ()
    pages: tuple[str, ...] = ()

    def below(self, prefix: str) -> "StoreState":
        """The part below a prefix."""
        return StoreState(
            records={key: held for key, held in self.records.items() if key.startswith(prefix)},
            checkpoints=tuple(key for key in self.checkpoints if key.startswith(prefix)),
            pages=tuple(key for key in self.pages if key.startswith(prefix)),
        )

    @property
    def cells(self) -> Counter[Cell]:
        """How many records there are of each cell."""
        return Counter((held["row"], held["column"], held["replicate"]) for held in self.records.values())

    @property
    def attempts(self) -> list[int]:
        """The number of the attempt that each record is of, in ascending order."""
        return sorted(held["attempt"] for held in self.records.values())


def states(log: str) -> list[StoreState]:
    """The states that the ledger's log has, oldest first."""
    found = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [
        StoreState(records=each["records"], checkpoints=tuple(each["checkpoints"]), pages=tuple(each["pages"]))
        for each in found
    ]


def expected_cells() -> Counter[Cell]:
    """Every cell of the experiment that the scenarios run, once."""
    module = load_experiment(EXPERIMENT, SCALE)
    sources = {name: assumed(load_source(name, {}).TASK) for name in module.SOURCES}
    return Counter((run.row, run.column, run.replicate) for run in module.runs(SCALE, 1, sources))


def require_kept(history: Sequence[StoreState]) -> None:
    """Fail if a record was replaced or lost at any time."""
    written: dict[str, str] = {}
    for state in history:
        lost = written.keys() - state.records.keys()
        assert not lost, f"records were lost: {sorted(lost)}"
        for key, held in state.records.items():
            first = written.setdefault(key, held["written"])
            assert held["written"] == first, f"{key} was written twice: {first}, then {held['written']}"


def require_each_once(state: StoreState) -> None:
    """Fail unless every cell has exactly one record."""
    expected, found = expected_cells(), state.cells
    assert not found - expected, f"cells with more than one record, or unknown: {dict(found - expected)}"
    assert not expected - found, f"cells without a record: {sorted(expected - found)}"
