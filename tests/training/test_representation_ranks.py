"""SimCLR and a probe on several ranks compute what one process computes."""

from pathlib import Path

import pytest
import torch

from histoseg.models.probe import network
from histoseg.pipeline.complete import open_dataset
from histoseg.store.objects import FileStore, connect
from histoseg.training import loop
from histoseg.training.checkpoint import Checkpoints
from histoseg.training.process import Process
from histoseg.types import Place
from tests.pipeline.small_runs import folds_store, probe_run
from tests.stages import network_of, training_of, with_stage
from tests.training.ranks import free_port, in_group


def train_as_rank(rank, world_size, port, folder):
    """Train both stages as a run does, in double precision; leave gradients' moments, weights and losses in a file."""
    torch.set_num_threads(1)
    # Compared are Adam's first moments, which are sums of gradients: a weight whose gradient is rounding moves anyhow.
    run = with_stage(probe_run(), optim={"lr": 1e-7, "steps": 3})
    run = with_stage(run, 1, optim={"lr": 1e-3, "steps": 3})
    store = connect(f"file://{folder}/{world_size}")
    dataset = open_dataset([run], store, Path(folder) / "cache")
    losses, model, folders = [], None, [Checkpoints(store, stage.label) for stage in run.stages]
    with in_group(rank, world_size, port), pytest.MonkeyPatch.context() as patch:
        build = network.build
        patch.setattr(network, "build", lambda parts, seed: build(parts, seed).double())
        patch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
        for number, checkpoints in enumerate(folders):
            training = training_of(run.at(number), dataset, number)
            process = Process(place=Place(rank=rank, world_size=world_size))
            done = loop.train(network_of(training, model), training, checkpoints, process)
            model, losses = done.model, losses + [point.loss for point in done.curve]
    if rank == 0:
        moments = [checkpoints.newest().tensors for checkpoints in folders]
        torch.save(moments, f"{folder}/{world_size}-moments.pt")
    torch.save({"weights": model.state_dict(), "losses": losses}, f"{folder}/{world_size}-{rank}.pt")


@pytest.mark.slow
def test_ranks_have_the_gradients_and_features_of_one_process(on_two_ranks, tmp_path):
    """Three pairs and five patches over two ranks: uneven shares, and each pair is told from those of both ranks."""
    for world_size in (1, 2):
        folds_store(tmp_path / str(world_size))
    train_as_rank(0, 1, 0, str(tmp_path))
    on_two_ranks(train_as_rank, 2, free_port(), str(tmp_path))
    alone, *ranks = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("1-0", "2-0", "2-1"))
    assert len(alone["losses"]) == 6
    assert ranks[0]["losses"] == ranks[1]["losses"] == pytest.approx(alone["losses"], rel=1e-6)
    for one, two in zip(*(torch.load(tmp_path / f"{n}-moments.pt", weights_only=True) for n in (1, 2)), strict=True):
        moments = [name for name in one if name.startswith("adam.exp_avg.")]
        largest = max(float(one[name].abs().max()) for name in moments)
        for name in moments:
            torch.testing.assert_close(two[name], one[name], rtol=1e-6, atol=1e-6 * largest, msg=name)
    for name, value in alone["weights"].items():
        assert torch.equal(ranks[0]["weights"][name], ranks[1]["weights"][name]), name
        if name.startswith("encoder."):
            torch.testing.assert_close(ranks[0]["weights"][name], value, rtol=1e-6, atol=1e-6, msg=name)
    one, two = (FileStore(tmp_path / str(n)) for n in (1, 2))
    assert len(one.list("features/cells/")) == len(two.list("features/cells/")) == 2
