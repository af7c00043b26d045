"""Training on frozen features: what is learnt from, that nothing else moves, and that features are computed once."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from histoseg.errors import ConfigError, DataError
from histoseg.methods.probe import Probing
from histoseg.pipeline.complete import open_dataset
from histoseg.representation import objects as of_objects
from histoseg.representation.pool import pooled
from histoseg.runs.config import Select
from histoseg.shards.in_memory import put_source
from histoseg.store.objects import FileStore
from histoseg.types import IGNORE, Place
from tests.pipeline.small_runs import CELLS, FOLDS, folds_store, probe_run
from tests.small_store import make_sample, make_task, squares_samples

RUN = probe_run().at(-1)
TRAINED = RUN.stages[-1].select


@pytest.fixture
def store(tmp_path):
    return folds_store(tmp_path / "store")


@pytest.fixture
def dataset(store, tmp_path):
    return open_dataset([RUN], store, tmp_path / "cache").select(TRAINED, 0)


def network_of(dataset):
    tasks = {name: index.task for name, index in dataset.sources.items()}
    return RUN.stages[-1].method.network(RUN, tasks, None, 0)


def draw(dataset, method=None, place=None, first_step=0):
    method = method or Probing(batch=5)
    return method.batches(dataset, RUN, seed=0, place=place or Place(), first_step=first_step)


def test_every_object_is_shown_once_in_an_epoch(dataset):
    """Three images of nine squares each: 27 objects, the step of nine three times."""
    batches = draw(dataset, Probing(batch=9))
    rows = np.concatenate([next(batches).rows for _ in range(3)])
    assert sorted(rows) == list(range(27))
    assert Probing(batch=9).steps_per_epoch(dataset) == 3


def test_classes_are_those_of_the_objects_without_background(dataset):
    """By hand: of nine squares numbered from 1, class 1 + number % 2 is 2 for the odd ones, so from 0 on it is 1."""
    table = next(draw(dataset)).table
    assert table.classes.tolist() == [1, 0, 1, 0, 1, 0, 1, 0, 1] * 3
    assert table.keys == [*["a"] * 9, *["b"] * 9, *["c"] * 9]


def test_features_are_those_of_the_patches_about_the_objects(dataset):
    """By hand: the first square of the first image covers pixels 2 to 13 both ways; its middle, 7.5, is in pixel 8."""
    network, table = network_of(dataset), next(draw(dataset)).table
    image = dataset.whole_image("cells", [0]).image
    padded = np.pad(image, ((8, 8), (8, 8), (0, 0)), mode="reflect")
    patch = padded[8 : 8 + 16, 8 : 8 + 16]  # Pixels 0 to 15 about pixel 8
    assert table.of(network)[0].numpy() == pytest.approx(pooled(network, patch[None])[0], abs=1e-6)


def test_the_loss_is_cross_entropy_and_nothing_but_the_head_moves(dataset):
    """To the bit, running statistics included; the loss from the network's own logits by NumPy."""
    network, batch = network_of(dataset).train(), next(draw(dataset))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    features = batch.table.of(network)[batch.rows]
    with torch.no_grad():
        logits = network.head("nuclei_type", features).numpy().astype(float)
    network.load_state_dict(before)  # The forward moved the head's statistics.
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wanted = -np.log(shares[np.arange(5), batch.table.classes[batch.rows]]).mean()
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=0.1)
    assert Probing(batch=5).backward(network, batch) == pytest.approx(wanted, rel=1e-5)
    optimizer.step()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("heads.") for name in changed)


def test_features_are_computed_once_and_not_for_another_encoder(dataset, monkeypatch):
    calls, compute = [], of_objects.pooled
    monkeypatch.setattr(of_objects, "pooled", lambda *words: calls.append(1) or compute(*words))
    first = next(draw(dataset)).table.of(network_of(dataset))
    assert len(calls) == 3  # Images
    assert torch.equal(next(draw(dataset)).table.of(network_of(dataset)), first)
    assert len(calls) == 3
    other = network_of(dataset)
    with torch.no_grad():
        other.encoder.conv1.weight[0, 0, 0, 0] += 1
    assert not torch.equal(next(draw(dataset)).table.of(other), first)
    assert len(calls) == 6


def test_ranks_share_what_one_process_draws(dataset):
    whole = next(draw(dataset, first_step=2))
    parts = [next(draw(dataset, place=Place(rank=rank, world_size=2), first_step=2)) for rank in (0, 1)]
    assert [part.rows.tolist() for part in parts] == [whole.rows[0::2].tolist(), whole.rows[1::2].tolist()]
    assert {part.global_size for part in parts} == {5}


def test_objects_of_unknown_class_are_not_learnt(tmp_path):
    store, rng = FileStore(tmp_path / "store"), np.random.default_rng(0)
    (sample,) = squares_samples(rng, ["a"], "instance", 3)
    unknown = np.where(sample.instance_map == 1, IGNORE, sample.semantic_map)
    left = make_sample("a", unknown, sample.instance_map, sample.image)
    put_source(store, make_task("cells", CELLS, "instance", "nuclei"), FOLDS, {"fold1": [left]})
    dataset = open_dataset([replace(RUN, stages=RUN.stages[1:])], store, tmp_path / "cache").select(TRAINED, 0)
    assert len(next(draw(dataset)).table.keys) == 8
    nothing = make_sample("a", np.full((48, 48), IGNORE), sample.instance_map, sample.image)
    put_source(store, make_task("cells", CELLS, "instance", "nuclei"), FOLDS, {"fold1": [nothing]})
    dataset = open_dataset([replace(RUN, stages=RUN.stages[1:])], store, tmp_path / "cache").select(TRAINED, 0)
    with pytest.raises(DataError, match="cells: no object of known class"):
        next(draw(dataset))


def test_a_source_without_objects_is_refused(store, tmp_path):
    dataset = open_dataset([RUN], store, tmp_path / "cache").select(Select(sources=("tissue",), splits=("fold1",)), 0)
    with pytest.raises(DataError, match="tissue has no objects"):
        next(draw(dataset))


def test_one_patch_is_too_few():
    with pytest.raises(ConfigError, match=r"batch = 1.*2 or more"):
        Probing(batch=1)
