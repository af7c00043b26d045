import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from histoseg.errors import ConfigError
from histoseg.methods._meta_gradient import mean_loss
from histoseg.methods.maml import Maml
from histoseg.models.unet.network import build, names_for
from histoseg.types import MetaBatch
from tests.synthetic import gradient_of, make_episode


@pytest.fixture
def model():
    """Small, in double precision, so that differences can be told from rounding."""
    return build(4, "group", {"a": 2, "b": 2}, 0).double()


@pytest.fixture
def episode():
    return make_episode(np.random.default_rng(0))


def descend(model, lr):
    """One plain step of gradient descent."""
    torch.optim.SGD(model.parameters(), lr=lr).step()


def adapted_loss(model, episode, method):
    """Query loss after adaptation, restated by hand: copy the network, step it, score it."""
    twin = copy.deepcopy(model)
    for _ in range(method.inner_steps):
        twin.zero_grad()
        weights = dict(twin.named_parameters())
        mean_loss(twin, weights, episode.support, episode.task).backward()
        descend(twin, method.inner_lr)
    with torch.no_grad():
        return mean_loss(twin, dict(twin.named_parameters()), episode.query, episode.task).item()


@pytest.mark.parametrize("norm", ["group", "frozen"])
@pytest.mark.parametrize("inner_steps", [1, 2])
def test_the_meta_gradient_is_that_of_finite_differences(episode, inner_steps, norm):
    model = build(4, norm, {"a": 2, "b": 2}, 0).double()
    if norm == "frozen":
        model.eval()  # Statistics that move would be another function at each evaluation.
    method = Maml(inner_lr=0.1, inner_steps=inner_steps)
    loss, gradient = method.meta_gradient(model, episode)
    assert loss == pytest.approx(adapted_loss(model, episode, method), abs=1e-12)
    generator = torch.Generator().manual_seed(0)
    for name in ("down.0.0.weight", "merge.2.3.weight", "up.1.bias", "heads.a.weight"):
        parameter = dict(model.named_parameters())[name]
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        step = 1e-5 / direction.norm()
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * step * direction
            values.append(adapted_loss(model, episode, method))
            with torch.no_grad():
                parameter -= sign * step * direction
        slope = (values[0] - values[1]) / (2 * step)
        # ReLU and max-pooling have kinks, which a step may cross: a few in ten thousand.
        assert (gradient[name] * direction).sum().item() == pytest.approx(slope.item(), rel=2e-3, abs=1e-7)


def test_first_order_differs_and_is_the_gradient_at_the_adapted_weights(model, episode):
    second = Maml(inner_lr=0.1).meta_gradient(model, episode)[1]
    first = Maml(inner_lr=0.1, first_order=True).meta_gradient(model, episode)[1]
    assert max(float((first[name] - second[name]).abs().max()) for name in first) > 1e-4
    twin = copy.deepcopy(model)
    mean_loss(twin, dict(twin.named_parameters()), episode.support, "a").backward()
    descend(twin, 0.1)
    twin.zero_grad()
    mean_loss(twin, dict(twin.named_parameters()), episode.query, "a").backward()
    for name, parameter in twin.named_parameters():
        if name in first:
            torch.testing.assert_close(first[name], parameter.grad)


@pytest.mark.parametrize("micro_batch", [1, 2, 3])
@pytest.mark.parametrize("inner_steps", [1, 3])
def test_micro_batches_change_nothing(model, episode, micro_batch, inner_steps):
    method = Maml(inner_lr=0.1, inner_steps=inner_steps)
    whole = method.meta_gradient(model, episode)[1]
    parts = replace(method, micro_batch=micro_batch).meta_gradient(model, episode)[1]
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-9, atol=1e-12)


def test_adapting_leaves_the_model_as_it_was(model, episode):
    before = copy.deepcopy(model.state_dict())
    Maml(inner_lr=0.1).backward(model, MetaBatch(episodes=(episode,), global_size=1))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_heads_of_other_tasks_get_no_gradient(model, episode):
    Maml().backward(model, MetaBatch(episodes=(episode,), global_size=1))
    assert model.heads["b"].weight.grad is None
    assert model.heads["a"].weight.grad is not None


def test_shares_of_a_step_add_up(model):
    rng = np.random.default_rng(0)
    episodes = tuple(make_episode(rng, task) for task in ("a", "b", "a"))
    method = Maml(inner_lr=0.1)
    loss = method.backward(model, MetaBatch(episodes=episodes, global_size=3))
    whole = gradient_of(model)
    model.zero_grad(set_to_none=True)
    shares = [method.backward(model, MetaBatch(episodes=(episode,), global_size=3)) for episode in episodes]
    assert sum(shares) == pytest.approx(loss)
    torch.testing.assert_close(gradient_of(model), whole)


def test_query_images_leave_no_trace_in_running_statistics(episode):
    method = Maml()
    other = replace(episode, query=make_episode(np.random.default_rng(9)).query)
    seen = []
    for each in (episode, other):
        model = build(4, "batch", {"a": 2}, 0)
        method.backward(model, MetaBatch(episodes=(each,), global_size=1))
        seen.append(dict(model.named_buffers()))
    assert all(torch.equal(value, seen[1][name]) for name, value in seen[0].items() if "running" in name)


@pytest.mark.parametrize("norm", ["batch", "frozen"])
def test_micro_batches_with_statistics_of_batches_are_refused(episode, norm):
    model = build(4, norm, {"a": 2}, 0)
    with pytest.raises(ConfigError, match="micro_batch needs"):
        Maml(micro_batch=1).backward(model, MetaBatch(episodes=(episode,), global_size=1))


@pytest.mark.parametrize("field", [{"support": 0}, {"inner_lr": 0.0}, {"micro_batch": -1}, {"inner_steps": 0}])
def test_values_that_cannot_be_are_refused(field):
    with pytest.raises(ConfigError, match=f"method.{next(iter(field))}"):
        Maml(**field)


def test_an_epoch_shows_as_many_patches_as_there_are_samples(dataset):
    rows = sum(len(dataset.training_rows(source)) for source in dataset.sources)
    assert Maml(support=rows - 1, query=1, episodes=1).steps_per_epoch(dataset) == 1
    assert Maml(support=rows - 2, query=1, episodes=1).steps_per_epoch(dataset) == 2


def test_a_later_stage_takes_over_the_body(dataset, tiny_run):
    tasks = {name: dataset.sources[name].task for name in ("synthetic", "glas")}
    first = Maml().network(tiny_run, tasks, None, 0)
    later = Maml().network(tiny_run, {"monuseg": dataset.sources["monuseg"].task}, first, 1)
    assert (list(first.heads), list(later.heads)) == (["synthetic", "glas"], ["monuseg"])
    for name in names_for(first, []):
        assert torch.equal(later.state_dict()[name], first.state_dict()[name])
