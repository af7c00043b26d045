import pytest

from histoseg.experiments._table1_paper import MIOU
from histoseg.runs import catalog


@pytest.fixture(scope="module")
def pairs():
    """The means of MAML and TransferL, by new task and predecessors."""
    places = {(new_task, column.partition(".")[0]) for new_task, column in MIOU}
    return {
        (row, column): tuple(MIOU[row, f"{column}.{method}"][0] for method in ("maml", "transfer"))
        for row, column in places
    }


def test_maml_wins_9_of_16_as_the_paper_says(pairs):
    # Yuan et al. 2022, Sec. 3.2: "MAML outperforming the other in 9 of the 16 settings".
    assert len(pairs) == 16
    assert sum(maml > transfer for maml, transfer in pairs.values()) == 9


def test_means_over_the_table(pairs):
    # Added up by hand from the printed table: 8.562 / 16 and 8.505 / 16.
    assert sum(maml for maml, _ in pairs.values()) / 16 == pytest.approx(0.5351, abs=5e-5)
    assert sum(transfer for _, transfer in pairs.values()) / 16 == pytest.approx(0.5316, abs=5e-5)


def test_no_task_is_its_own_predecessor(pairs):
    tasks = {"breastpathq", "monuseg", "glas", "digestpath"}
    assert set(pairs) == {(row, column) for row in tasks for column in {*tasks, "all_others"} if row != column}


def test_it_is_no_experiment_itself():
    assert not any("paper" in name for name in catalog.names("histoseg.experiments"))
