"""Cerberus on several ranks computes what one process computes: batch statistics, masked losses, dropout and all."""

import importlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from histoseg.models.norm import SyncedBatchNorm
from histoseg.pipeline.complete import open_dataset
from histoseg.runs.names import from_json, to_json
from histoseg.store.objects import connect
from histoseg.training import loop
from histoseg.training.checkpoint import Checkpoints
from histoseg.training.process import Process
from histoseg.types import Place
from tests.stages import network_of, training_of, with_stage
from tests.training.ranks import free_port, in_group


def train_as_rank(rank, world_size, port, job):
    """Train all stages as a run does; leave weights and curves in a file."""
    torch.set_num_threads(1)
    # In double precision: in single, a rounding that moves an activation across a ReLU's zero changes gradients in the
    # third digit, which would hide what is sought here.
    network = importlib.import_module(job["network"])
    run = from_json(job["run"])
    store = connect(f"file://{job['folder']}/{world_size}")
    dataset = open_dataset([run], connect(job["store"]), Path(job["folder"]) / "cache")
    process = Process(place=Place(rank=rank, world_size=world_size))
    losses, model, folders = [], None, [Checkpoints(store, stage.label) for stage in run.stages]
    with in_group(rank, world_size, port), pytest.MonkeyPatch.context() as patch:
        build = network.build
        patch.setattr(network, "build", lambda parts, seed: build(parts, seed).double())
        patch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
        for number, checkpoints in enumerate(folders):
            training = training_of(run, dataset, number)
            done = loop.train(network_of(training, model), training, checkpoints, process)
            model, losses = done.model, losses + [point.loss for point in done.curve]
    if rank == 0:
        moments = [checkpoints.newest().tensors for checkpoints in folders]
        torch.save(moments, f"{job['folder']}/{world_size}-moments.pt")
    torch.save({"weights": model.state_dict(), "losses": losses}, f"{job['folder']}/{world_size}-{rank}.pt")


@pytest.mark.slow
@pytest.mark.parametrize("how", [{"mixed": True}, {"mixed": False}, {"masked": True, "in_turn": True}])
def test_ranks_have_the_gradients_and_statistics_of_one_process(on_two_ranks, folds_url, tiny_fold_run, tmp_path, how):
    """Five patches over two ranks: uneven shares, and steps in which a rank has no patch of some structure.

    Compared are Adam's first moments, which are sums of gradients. Weights are no measure: the bias of a convolution
    before batch normalisation has no gradient but rounding, of which Adam makes whole steps. So steps are tiny.
    """
    method = replace(tiny_fold_run.stages[0].method, **how)
    run = with_stage(tiny_fold_run, method=method, optim={"lr": 1e-7, "steps": 6})
    run = with_stage(run, 1, optim={"lr": 1e-7, "steps": 2})
    subtyping = run.stages[1].method
    if method.masked:  # The rest of what the published code does otherwise
        subtyping = replace(subtyping, class_weights=(12.0, 1.0, 2.0, 6.0, 12.0, 2.0))
    elif not method.mixed:
        subtyping = replace(subtyping, mode="PixelA", loss="ce+dice")
    run = with_stage(run, 1, method=subtyping)
    check_ranks(on_two_ranks, run, "histoseg.models.cerberus.network", folds_url, tmp_path)


def check_ranks(on_two_ranks, run, network, folds_url, tmp_path):
    """Train a run by one process and by two, and compare losses, weights and moments; `network` has `build`."""
    job = {"run": to_json(run), "store": folds_url, "folder": str(tmp_path), "network": network}
    train_as_rank(0, 1, 0, job)
    on_two_ranks(train_as_rank, 2, free_port(), job)
    alone, *ranks = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("1-0", "2-0", "2-1"))
    assert len(alone["losses"]) == sum(stage.optim.steps for stage in run.stages)
    assert ranks[0]["losses"] == pytest.approx(alone["losses"], rel=1e-6)
    for name, value in alone["weights"].items():
        assert torch.equal(ranks[0]["weights"][name], ranks[1]["weights"][name]), name
        torch.testing.assert_close(ranks[0]["weights"][name], value, rtol=1e-6, atol=1e-6, msg=name)
    one, two = (torch.load(tmp_path / f"{number}-moments.pt", weights_only=True) for number in (1, 2))
    for mine, theirs in zip(one, two, strict=True):
        assert set(mine) == set(theirs)
        moments = [name for name in mine if name.startswith(("adam.exp_avg.", "adam.momentum_buffer."))]
        largest = max(float(mine[name].abs().max()) for name in moments)
        for name in moments:
            torch.testing.assert_close(theirs[name], mine[name], rtol=1e-6, atol=1e-6 * largest, msg=name)


def normalise_as_rank(rank, port, folder):
    with in_group(rank, 2, port):
        layer, whole = SyncedBatchNorm(3), torch.load(f"{folder}/input.pt", weights_only=True)
        own = whole[:0] if rank else whole  # All images on one rank, none on the other
        own = own if not Path(f"{folder}/split").exists() else whole[rank::2]
        own = own.clone().requires_grad_()
        output = layer(own)
        (output**3).sum().backward()
        torch.save(
            {"output": output.detach(), "gradient": own.grad, "buffers": dict(layer.named_buffers())},
            f"{folder}/{rank}.pt",
        )


@pytest.mark.parametrize("is_split", [True, False])
def test_batch_norm_over_ranks_is_torchs_over_the_whole_batch(on_two_ranks, tmp_path, is_split):
    whole = 3 + torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.save(whole, tmp_path / "input.pt")
    if is_split:
        (tmp_path / "split").touch()
    on_two_ranks(normalise_as_rank, free_port(), str(tmp_path))
    layer, own = torch.nn.BatchNorm2d(3), whole.clone().requires_grad_()
    output = layer(own)
    (output**3).sum().backward()
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        part = slice(rank, None, 2) if is_split else slice(0, 0 if rank else None)
        torch.testing.assert_close(found["output"], output.detach()[part], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found["gradient"], own.grad[part], rtol=1e-4, atol=1e-5)
        for name, value in layer.named_buffers():
            torch.testing.assert_close(found["buffers"][name], value, rtol=1e-5, atol=1e-6)
