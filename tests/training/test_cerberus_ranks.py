"""Cerberus on several ranks computes what one process computes: batch statistics, masked losses, dropout and all."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.multiprocessing

from tests.training.test_ranks import free_port


def train_as_rank(rank, world_size, port, job):
    """Train and subtype as a run does; leave weights and curves in a file."""
    import torch.distributed as dist

    from histoseg.models.cerberus.network import build
    from histoseg.pipeline import crossval
    from histoseg.records.write import open_dataset
    from histoseg.runs.names import from_json
    from histoseg.store.objects import connect
    from histoseg.training.checkpoint import Checkpoints
    from histoseg.training.process import Process
    from histoseg.types import Place

    torch.set_num_threads(1)
    if world_size > 1:
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world_size)
    # In double precision: in single, a rounding that moves an activation across a ReLU's zero changes gradients in the
    # third digit, which would hide what is sought here.
    monkey = pytest.MonkeyPatch()
    monkey.setattr(crossval, "build", lambda spec, seed: build(spec, seed).double())
    run = from_json(job["run"])
    store = connect(f"file://{job['folder']}/{world_size}")
    dataset = open_dataset([run], connect(job["store"]), Path(job["folder"]) / "cache")
    process = Process(place=Place(rank=rank, world_size=world_size))
    trained = crossval.train_network(run, dataset, store, process)
    subtyped = crossval._train_subtyping(run, trained.model, dataset, store, process)
    if rank == 0:
        folders = sorted({key.rpartition("/")[0] for key in store.list("runs/") if key.endswith("safetensors")})
        moments = [Checkpoints(store, folder).newest().tensors for folder in folders]
        torch.save(moments, f"{job['folder']}/{world_size}-moments.pt")
    found = {"weights": subtyped.model.state_dict(), "curve": [*trained.curve, *subtyped.curve]}
    torch.save(found, f"{job['folder']}/{world_size}-{rank}.pt")
    monkey.undo()
    if world_size > 1:
        dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("mixed", [True, False])
def test_ranks_have_the_gradients_and_statistics_of_one_process(folds_url, tiny_fold_run, tmp_path, mixed):
    """Five patches over two ranks: uneven shares, and steps in which a rank has no patch of some structure.

    Compared are Adam's first moments, which are sums of gradients. Weights are no measure: the bias of a convolution
    before batch normalisation has no gradient but rounding, of which Adam makes whole steps. So steps are tiny.
    """
    from histoseg.runs.names import to_json

    optim = replace(tiny_fold_run.optim, lr=1e-7, steps=6)
    method = replace(tiny_fold_run.method, mixed=mixed)
    run = replace(tiny_fold_run, method=method, optim=optim, subtype_optim=replace(optim, steps=2))
    job = {"run": to_json(run), "store": folds_url, "folder": str(tmp_path)}
    train_as_rank(0, 1, 0, job)
    torch.multiprocessing.spawn(train_as_rank, (2, free_port(), job), nprocs=2)
    alone, *ranks = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("1-0", "2-0", "2-1"))
    for one, two in zip(alone["curve"], ranks[0]["curve"], strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-6)
    for name, value in alone["weights"].items():
        assert torch.equal(ranks[0]["weights"][name], ranks[1]["weights"][name]), name
        torch.testing.assert_close(ranks[0]["weights"][name], value, rtol=1e-6, atol=1e-6, msg=name)
    one, two = (torch.load(tmp_path / f"{number}-moments.pt", weights_only=True) for number in (1, 2))
    for mine, theirs in zip(one, two, strict=True):
        assert set(mine) == set(theirs)
        moments = [name for name in mine if name.startswith("adam.exp_avg.")]
        largest = max(float(mine[name].abs().max()) for name in moments)
        for name in moments:
            torch.testing.assert_close(theirs[name], mine[name], rtol=1e-6, atol=1e-6 * largest, msg=name)


def normalise_as_rank(rank, port, folder):
    import torch.distributed as dist

    from histoseg.models.norm import SyncedBatchNorm

    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    layer, whole = SyncedBatchNorm(3), torch.load(f"{folder}/input.pt", weights_only=True)
    own = whole[:0] if rank else whole  # All images on one rank, none on the other
    own = own if not Path(f"{folder}/split").exists() else whole[rank::2]
    own = own.clone().requires_grad_()
    output = layer(own)
    (output**3).sum().backward()
    torch.save(
        {"output": output.detach(), "gradient": own.grad, "buffers": dict(layer.named_buffers())}, f"{folder}/{rank}.pt"
    )
    dist.destroy_process_group()


@pytest.mark.parametrize("is_split", [True, False])
def test_batch_norm_over_ranks_is_torchs_over_the_whole_batch(tmp_path, is_split):
    whole = 3 + torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.save(whole, tmp_path / "input.pt")
    if is_split:
        (tmp_path / "split").touch()
    torch.multiprocessing.spawn(normalise_as_rank, (free_port(), str(tmp_path)), nprocs=2)
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
