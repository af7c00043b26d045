"""The learning rate that a training takes its steps with."""

import pytest

from histoseg.methods.transfer import Transfer
from histoseg.runs.config import Optim
from histoseg.store.objects import connect
from histoseg.training import loop
from histoseg.training.checkpoint import Checkpoints
from tests.stages import train_first, with_stage


@pytest.mark.parametrize(("drop_at", "rates"), [(2, [1e-3, 1e-3, 1e-4, 1e-4]), (0, [1e-3] * 4)])
def test_steps_after_the_drop_have_a_tenth(dataset, tiny_run, tmp_path, monkeypatch, drop_at, rates):
    taken, take_step = [], loop.take_step

    def noted(model, optimizer, *rest):
        taken.append(optimizer.param_groups[0]["lr"])
        return take_step(model, optimizer, *rest)

    monkeypatch.setattr(loop, "take_step", noted)
    run = with_stage(tiny_run, method=Transfer(batch=1), optim=Optim(lr=1e-3, steps=4, drop_at=drop_at))
    train_first(run, dataset, Checkpoints(connect(f"file://{tmp_path}"), "run"))
    assert taken == pytest.approx(rates)
