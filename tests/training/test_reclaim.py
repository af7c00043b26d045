"""A machine that is about to be taken away has its training saved first."""

import pytest

from histoseg.store.objects import connect
from histoseg.training import loop
from histoseg.training.checkpoint import Checkpoints
from histoseg.training.process import Process
from histoseg.types import Place
from tests.stages import train_first, with_stage


class PowerCut(Exception):
    pass


@pytest.fixture
def short_intervals(monkeypatch):
    """Ask at every second step; the run has four."""
    monkeypatch.setattr(loop, "ASK_EVERY_STEPS", 2)


def train_until(step, dataset, run, checkpoints, is_reclaimed):
    """Train until a step is over, and then end as a machine does."""
    taken = []
    take_step = loop.take_step

    def counted(*arguments):
        if len(taken) == step:
            raise PowerCut
        taken.append(step)
        return take_step(*arguments)

    patch = pytest.MonkeyPatch()
    patch.setattr(loop, "take_step", counted)
    try:
        with pytest.raises(PowerCut):
            train_first(run, dataset, checkpoints, Process(is_reclaimed=is_reclaimed))
    finally:
        patch.undo()


@pytest.mark.parametrize(("reclaimed", "saved"), [(True, [2]), (False, [])])
def test_it_is_saved_at_the_next_step_that_asks(dataset, tiny_run, tmp_path, short_intervals, reclaimed, saved):
    checkpoints = Checkpoints(connect(f"file://{tmp_path}/runs"), "run")
    train_until(3, dataset, tiny_run, checkpoints, lambda: reclaimed)
    assert checkpoints.steps() == saved


def test_all_ranks_ask_equally_often(dataset, tiny_run, tmp_path, short_intervals):
    """Ranks wait for each other in the question, so a rank that does not lead asks at the same steps."""
    asked = {}
    for rank in (0, 1):
        count = []
        process = Process(place=Place(rank=rank, world_size=1), is_reclaimed=lambda count=count: bool(count.append(1)))
        store = connect(f"file://{tmp_path}/{rank}")
        train_first(tiny_run, dataset, Checkpoints(store, "run"), process)
        asked[rank] = len(count)
    assert asked == {0: 2, 1: 2}  # at steps 2 and 4 of 4


def test_once_reclaimed_it_saves_again_and_again(dataset, tiny_run, tmp_path, short_intervals, monkeypatch):
    monkeypatch.setattr(loop, "RECLAIMED_CHECKPOINT_EVERY_S", 0.0)
    checkpoints = Checkpoints(connect(f"file://{tmp_path}/runs"), "run", keep=9)
    train_until(4, dataset, with_stage(tiny_run, optim={"steps": 6}), checkpoints, lambda: True)
    assert checkpoints.steps() == [2, 3, 4]
