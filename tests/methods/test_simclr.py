"""SimCLR: its loss by hand and by its published equation, its network, and its pairs of views."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from histoseg.errors import ConfigError
from histoseg.methods._contrast import nt_xent
from histoseg.methods.simclr import SimClr
from histoseg.models.probe.names import PROJECTION
from histoseg.pipeline.complete import open_dataset
from histoseg.types import Place, ViewBatch
from tests.pipeline.small_runs import folds_store, probe_run

RUN = probe_run().at(0)
METHOD = RUN.stages[0].method


@pytest.fixture
def dataset(tmp_path):
    opened = open_dataset([RUN], folds_store(tmp_path / "store"), tmp_path / "cache")
    return opened.select(RUN.stages[0].select, 0)


def test_the_loss_of_two_pairs_by_hand():
    """Views a = (1, 0), b = (0, 1), their partners (1, 0) and (0, 1), temperature 1.

    Each view has cosine 1 with its partner and 0 with the two others: -log(e / (e + 1 + 1)) = log(e + 2) - 1.
    """
    views = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    assert float(nt_xent(views, 1.0)) == pytest.approx(np.log(np.e + 2) - 1)


def test_lengths_do_not_count():
    """By hand: as above, for only angles do."""
    views = torch.tensor([[3.0, 0.0], [0.0, 0.2], [0.5, 0.0], [0.0, 9.0]])
    assert float(nt_xent(views, 1.0)) == pytest.approx(np.log(np.e + 2) - 1)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_loss_is_that_of_the_equation(temperature):
    """Chen et al. 2020, Eq. 1, written down with NumPy, averaged over both views of all pairs (Algorithm 1)."""
    z = np.random.default_rng(0).normal(size=(10, 6))
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    similar = np.exp(unit @ unit.T / temperature)
    partners = [(i + 5) % 10 for i in range(10)]
    others = similar.sum(axis=1) - similar.diagonal()
    wanted = -np.log(similar[range(10), partners] / others).mean()
    assert float(nt_xent(torch.from_numpy(z), temperature)) == pytest.approx(wanted)


def test_the_whole_encoder_is_trained(dataset):
    tasks = {name: index.task for name, index in dataset.sources.items()}
    network = METHOD.network(RUN, tasks, None, 0).train()
    batch = next(METHOD.batches(dataset, RUN, seed=0, place=Place(), first_step=0))
    assert METHOD.backward(network, batch) > 0
    gradients = {name for name, value in network.named_parameters() if value.grad is not None and value.grad.any()}
    assert {"encoder.conv1.weight", "encoder.layer4.1.conv2.weight", f"heads.{PROJECTION}.0.weight"} <= gradients
    assert network.parts.outputs == {PROJECTION: 128}


def test_a_later_stage_goes_on_from_the_encoder_before(dataset):
    before = METHOD.network(RUN, {}, None, 5)
    after = METHOD.network(RUN, {}, before, 6)
    assert torch.equal(after.encoder.conv1.weight, before.encoder.conv1.weight)
    assert not torch.equal(after.heads[PROJECTION][0].weight, before.heads[PROJECTION][0].weight)


def test_views_come_from_every_selected_source(dataset):
    batches = METHOD.batches(dataset, RUN, seed=0, place=Place(), first_step=0)
    seen = {key for _ in range(4) for key in next(batches).keys}
    assert seen == {"a", "b", "c", "fold10", "fold11", "fold12"}  # Three images of cells, three tiles of tissue


def test_a_step_says_which_pairs_a_rank_has(dataset):
    whole, *parts = (
        next(METHOD.batches(dataset, RUN, seed=0, place=place, first_step=3))
        for place in (Place(), Place(rank=0, world_size=2), Place(rank=1, world_size=2))
    )
    assert isinstance(whole, ViewBatch)
    assert whole.first.shape == whole.second.shape == (3, 16, 16, 3)
    assert not np.array_equal(whole.first, whole.second)
    assert [part.numbers.tolist() for part in parts] == [[0, 2], [1]]
    for part in parts:
        assert np.array_equal(part.first, whole.first[part.numbers])
        assert np.array_equal(part.second, whole.second[part.numbers])
        assert part.global_size == 3


@pytest.mark.parametrize(("field", "value"), [("batch", 1), ("temperature", 0.0), ("projection", 0)])
def test_nonsense_is_refused(field, value):
    with pytest.raises(ConfigError, match=f"method.{field} = {value}"):
        replace(SimClr(), **{field: value})
