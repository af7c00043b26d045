"""Records against cells, on made-up states of a store."""

import json
from dataclasses import replace

import pytest

from tests.cluster.records import expected_cells, require_each_once, require_kept, states


def line(*records, page=True):
    """A line of the ledger: records as (name, cell, when it was written, attempt)."""
    held = {}
    for name, (row, column, replicate), written, attempt in records:
        fields = {"row": row, "column": column, "replicate": replicate, "attempt": attempt, "written": written}
        held[f"here/demo/records/smoke/{name}.json"] = fields
    return json.dumps({"records": held, "checkpoints": [], "pages": ["here/demo/results/index.html"] if page else []})


MAML, TRANSFER = sorted(expected_cells())
ONE, OTHER = ("one", MAML, "at 1", 1), ("other", TRANSFER, "at 2", 2)


def test_the_cells_are_those_of_the_experiment():
    """Two methods on one pair of tasks and one seed."""
    assert [cell[:2] for cell in (MAML, TRANSFER)] == [("glas", "synthetic.maml"), ("glas", "synthetic.transfer")]


def test_each_cell_once_is_right():
    history = states("\n".join([line(), "no state", line(ONE), line(ONE, OTHER)]))
    require_kept(history)
    require_each_once(history[-1])
    assert history[-1].attempts == [1, 2]
    assert history[-1].below("here/").pages
    assert history[-1].below("elsewhere/") == replace(history[0], pages=())


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([line(ONE)], r"without a record: \[\('glas', 'synthetic.transfer'"),
        ([line(ONE, OTHER, ("again", MAML, "at 3", 2))], "more than one record"),
        ([line(ONE, OTHER, ("new", ("lizard", "", ""), "at 3", 1))], "or unknown"),
    ],
)
def test_a_cell_too_few_or_too_many(lines, said):
    with pytest.raises(AssertionError, match=said):
        require_each_once(states("\n".join(lines))[-1])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([line(ONE), line(OTHER)], "records were lost.*one.json"),
        ([line(ONE), line(("one", MAML, "at 9", 2))], "one.json was written twice: at 1, then at 9"),
        ([line(ONE), line(), line(ONE)], "records were lost"),  # Also for a while
    ],
)
def test_a_record_that_was_touched(lines, said):
    with pytest.raises(AssertionError, match=said):
        require_kept(states("\n".join(lines)))
