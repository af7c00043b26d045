"""Training by epochs: when it ends, which epoch's weights are kept, and that a resumed one knows where it was."""

import math
from types import SimpleNamespace

import pytest
import torch

from histoseg.errors import DataError
from histoseg.methods.transfer import Transfer
from histoseg.pipeline.stage import train_stage
from histoseg.runs.config import Select
from histoseg.scoring.pixels import Pixels
from histoseg.store.objects import connect
from histoseg.training import listeners, loop
from histoseg.training.checkpoint import Checkpoints
from histoseg.training.process import Process
from tests.stages import network_of, training_of, with_stage


@pytest.fixture
def store(tmp_path):
    return connect(f"file://{tmp_path / 'runs'}")


@pytest.fixture
def few(tiny_run):
    """Refining on one image of several tiles, several steps an epoch."""
    run = with_stage(tiny_run, 1, select=Select(sources=("monuseg",), splits=("train",), shots=1))
    return with_stage(run, 1, method=Transfer(batch=3))


def refine(run, dataset, store, validate, process=None):
    """The second stage, from a network that has been trained no step."""
    training = training_of(run, dataset, 1, validate)
    network = network_of(training, network_of(training_of(run, dataset)))
    return loop.train(network, training, Checkpoints(store, "run"), process or Process())


def weights_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def epoch_steps(run, dataset):
    training = training_of(run, dataset, 1)
    return training.stage.method.steps_per_epoch(training.dataset)


@pytest.mark.parametrize(
    ("patience", "last"),
    [
        (0, 6),  # Never stops early.
        (1, 3),  # Epoch 3 is no better than 2.
        (2, 4),  # Nor is 4; the 0.9 of epoch 5 is not seen.
        (3, 6),  # It is seen, and 6 is the last.
    ],
)
def test_training_ends_after_as_many_epochs_without_a_better_score(dataset, few, store, patience, last):
    scores, weights = [0.5, 0.6, 0.6, 0.4, 0.9, 0.1], []

    def validate(model):
        weights.append(weights_of(model))
        return scores[len(weights) - 1]

    run = with_stage(few, 1, optim={"epochs": len(scores), "patience": patience})
    done, steps = refine(run, dataset, store, validate), epoch_steps(run, dataset)
    assert steps > 1
    assert [(point.step, point.score) for point in done.curve] == [
        (steps * (epoch + 1), scores[epoch]) for epoch in range(last)
    ]
    best_epoch = 2 if last < 5 else 5
    assert done.best_step == steps * best_epoch
    assert len(weights) == last
    best = weights[best_epoch - 1]
    assert all(torch.equal(value, best[name]) for name, value in done.model.state_dict().items())
    assert any(not torch.equal(value, best[name]) for name, value in weights[-1].items())


def test_an_epoch_without_a_score_is_not_chosen(dataset, few, store):
    scores = iter([math.nan, 0.0, math.nan])
    done = refine(with_stage(few, 1, optim={"epochs": 3}), dataset, store, lambda _: next(scores))
    assert done.best_step == 2 * epoch_steps(few, dataset)
    assert [math.isnan(point.score) for point in done.curve] == [True, False, True]


def test_a_training_without_any_score_is_refused(dataset, few, store):
    with pytest.raises(DataError, match="monuseg: no pixel of its val split is labelled"):
        refine(few, dataset, store, lambda _: math.nan)


def test_the_last_weights_are_kept_without_a_choice(dataset, few, store):
    done = refine(with_stage(few, 1, keep="last", optim={"epochs": 3}), dataset, store, None)
    steps = epoch_steps(few, dataset)
    assert [point.step for point in done.curve] == [steps, 2 * steps, 3 * steps]
    assert all(math.isnan(point.score) for point in done.curve)
    assert done.best_step == 3 * steps


def test_the_loss_of_an_epoch_is_the_mean_of_its_steps(dataset, few, store, monkeypatch):
    losses, take_step = [], loop.take_step
    monkeypatch.setattr(loop, "take_step", lambda *arguments: losses.append(take_step(*arguments)) or losses[-1])
    done, steps = refine(few, dataset, store, lambda _: 0.5), epoch_steps(few, dataset)
    means = [sum(losses[first : first + steps]) / steps for first in (0, steps)]
    assert [point.loss for point in done.curve] == pytest.approx(means)


def test_validation_is_in_evaluation_mode_and_steps_are_not(dataset, few, store, monkeypatch):
    modes, take_step = [], loop.take_step

    def noted(model, *rest):
        modes.append(model.training)
        return take_step(model, *rest)

    def validate(model):
        modes.append(model.training)
        return 0.5

    monkeypatch.setattr(loop, "take_step", noted)
    refine(few, dataset, store, validate)
    epoch = [True] * epoch_steps(few, dataset) + [False]
    assert modes == 2 * epoch


class Interrupted(Exception):
    """What a kill looks like from inside."""


def stop_at(step):
    def on_status(status):
        if status.step == step:
            raise Interrupted

    return Process(listeners=(SimpleNamespace(on_status=on_status, close=lambda: None),))


def by_weights(model):
    """A score that falls and rises from epoch to epoch, by the weights alone, between 0 and 1."""
    return float(torch.cat([p.detach().flatten() for p in model.parameters()]).double().sum().mul(1e3).sin() / 2 + 0.5)


@pytest.mark.parametrize("place", ["in the first epoch", "at its end", "in the second epoch", "in the last epoch"])
@pytest.mark.parametrize("patience", [0, 1])
def test_a_resumed_training_ends_as_an_uninterrupted_one(dataset, few, store, monkeypatch, place, patience):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(listeners, "LOG_EVERY_S", 0.0)
    run = with_stage(few, 1, optim={"epochs": 4, "patience": patience})
    whole = refine(run, dataset, connect(f"{store.url}/whole"), by_weights)
    steps = epoch_steps(run, dataset)
    step = {"in the first epoch": 2, "at its end": steps + 1, "in the second epoch": steps + 2}.get(
        place, whole.curve[-1].step
    )
    with pytest.raises(Interrupted):
        refine(run, dataset, store, by_weights, stop_at(step))
    assert Checkpoints(store, "run").steps()[-1] == step - 1
    resumed = refine(run, dataset, store, by_weights)
    assert resumed.curve == whole.curve
    assert resumed.best_step == whole.best_step
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_a_stage_is_validated_on_the_val_split_of_its_own_sources_alone(dataset, tiny_run, store, monkeypatch):
    seen = []

    def validate(evaluator, network, run, opened, select, process):
        seen.append((evaluator, list(network.heads), select))
        return 0.5

    monkeypatch.setattr(Pixels, "validate", validate)
    before = train_stage(tiny_run, 0, None, dataset, store, Process()).model
    train_stage(tiny_run, 1, before, dataset, store, Process())
    assert seen == [(tiny_run.evaluator, ["monuseg"], Select(sources=("monuseg",), splits=("val",)))] * 2
