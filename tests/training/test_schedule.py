"""The learning rate that a training takes its steps with."""

import pytest
import torch

from histoseg.errors import ConfigError
from histoseg.methods.transfer import Transfer
from histoseg.models.network import Network
from histoseg.runs.config import Optim
from histoseg.store.objects import connect
from histoseg.training import loop
from histoseg.training.checkpoint import Checkpoints
from tests.stages import train_first, with_stage


@pytest.mark.parametrize(
    ("how", "rates"),
    [
        ({"drop_at": 2}, [1e-3, 1e-3, 1e-4, 1e-4]),
        ({}, [1e-3] * 4),
        # By hand: 1, 3/4, 1/2 and 1/4 to the power of 0.9
        ({"schedule": "poly", "optimizer": "sgd"}, [1e-3, 7.719e-4, 5.359e-4, 2.872e-4]),
    ],
)
def test_steps_have_the_rates_of_the_schedule(dataset, tiny_run, tmp_path, monkeypatch, how, rates):
    taken, take_step = [], loop.take_step

    def noted(model, optimizer, *rest):
        taken.append(optimizer.param_groups[0]["lr"])
        return take_step(model, optimizer, *rest)

    monkeypatch.setattr(loop, "take_step", noted)
    run = with_stage(tiny_run, method=Transfer(batch=1), optim=Optim(lr=1e-3, steps=4, **how))
    train_first(run, dataset, Checkpoints(connect(f"file://{tmp_path}"), "run"))
    assert taken == pytest.approx(rates, rel=1e-3)


class Line(Network):
    """Its output is its weight times its input."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return self.weight * x

    def compile_parts(self):
        pass

    def interpret_parts(self):
        pass


def test_descent_has_the_momentum_and_decay_of_nnunet():
    """By hand, with a gradient of 1 at a weight of 2: g = 1 + 2 · 3e-5, the velocity g, then 1.99 g and so on.

    Nesterov's step is g plus 0.99 of the velocity: 1.99 g at first, then g + 0.99 · (0.99 g + g).
    """
    layer = Line().double()
    optimizer, weight, velocity = loop.new_optimizer(layer, Optim(lr=0.01, optimizer="sgd")), 2.0, 0.0
    for _ in range(3):
        optimizer.zero_grad()
        layer(torch.ones((), dtype=torch.float64)).backward()
        optimizer.step()
        gradient = 1 + 3e-5 * weight
        velocity = 0.99 * velocity + gradient
        weight -= 0.01 * (gradient + 0.99 * velocity)
        assert layer.weight.item() == pytest.approx(weight, rel=1e-12)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"schedule": "poly", "steps": 0, "epochs": 3}, "steps"),
        ({"schedule": "poly", "drop_at": 5}, "drop_at"),
    ],
)
def test_schedules_that_cannot_be_had_are_refused(wrong, field):
    with pytest.raises(ConfigError, match=rf"^optim\.{field} = "):
        Optim(**wrong)
