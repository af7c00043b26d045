"""Several ranks compute what one computes: real processes that talk over gloo."""

from pathlib import Path

import pytest
import torch

from histoseg.errors import StorageError
from histoseg.methods.maml import Maml
from histoseg.methods.transfer import Transfer
from histoseg.runs.names import from_json, to_json
from histoseg.shards.reader import MetaDataset
from histoseg.store.objects import connect
from histoseg.training.checkpoint import Checkpoint, Checkpoints, newest_on_all_ranks
from histoseg.training.gradients import average_statistics, sum_gradients
from histoseg.training.process import Process
from histoseg.types import Place
from tests.stages import train_first, with_stage
from tests.training.ranks import free_port, in_group


def train_as_rank(rank, world_size, port, job):
    """Pretrain, and leave the weights and the step-by-step loss in a file."""
    torch.set_num_threads(1)
    with in_group(rank, world_size, port):
        run = from_json(job["run"])
        sources = run.stages[0].select.sources
        dataset = MetaDataset.open(connect(job["store"]), sources, run.data.layout, Path(job["folder"]) / "cache")
        checkpoints = Checkpoints(connect(f"file://{job['folder']}/{world_size}"), "run")
        process = Process(place=Place(rank=rank, world_size=world_size))
        done = train_first(run, dataset, checkpoints, process)
    losses = [point.loss for point in done.curve]
    torch.save({"weights": done.model.state_dict(), "losses": losses}, f"{job['folder']}/{world_size}-{rank}.pt")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["maml", "transfer"])
def test_ranks_end_with_the_weights_of_one_process(on_two_ranks, prepared_url, tiny_run, tmp_path, method):
    # Five episodes or images over two ranks: uneven shares, and steps in which a rank has no image of some task.
    chosen = Maml(support=1, query=1, episodes=3, inner_lr=0.1) if method == "maml" else Transfer(batch=5)
    # Plain steps would be told apart by Adam, which turns the sign of a rounding error into a whole step.
    run = with_stage(tiny_run, method=chosen, optim={"lr": 1e-4, "steps": 3})
    job = {"run": to_json(run), "store": prepared_url, "folder": str(tmp_path)}
    train_as_rank(0, 1, 0, job)
    on_two_ranks(train_as_rank, 2, free_port(), job)
    alone, *ranks = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("1-0", "2-0", "2-1"))
    for name, value in alone["weights"].items():
        assert torch.equal(ranks[0]["weights"][name], ranks[1]["weights"][name]), name
        torch.testing.assert_close(ranks[0]["weights"][name], value, rtol=0, atol=1e-6)
    assert len(alone["losses"]) == 3
    assert ranks[0]["losses"] == ranks[1]["losses"] == pytest.approx(alone["losses"], abs=1e-6)


def sum_as_rank(rank, port, folder):
    with in_group(rank, 2, port):
        model = torch.nn.ModuleDict({name: torch.nn.Linear(1, 1, bias=False) for name in ("both", "one", "none")})
        norm = torch.nn.BatchNorm1d(1)
        norm.running_mean.fill_(rank)
        model["norm"] = norm
        model["wide"] = torch.nn.Conv2d(2, 3, 3, bias=False).to(memory_format=torch.channels_last)
        model["wide"].weight.grad = torch.ones_like(model["wide"].weight)
        model["both"].weight.grad = torch.full((1, 1), 1.0 + rank)
        if rank == 1:
            model["one"].weight.grad = torch.full((1, 1), 5.0)
        sum_gradients(model)
        average_statistics(model)
        wide = model.pop("wide").weight
        found = {name: None if (grad := model[name].weight.grad) is None else grad.item() for name in model}
        found |= {"mean": norm.running_mean.item(), "wide": wide.grad.unique().tolist()}
        torch.save(found | {"strides": [wide.stride(), wide.grad.stride()]}, f"{folder}/{rank}.pt")


def test_gradients_are_summed_and_heads_absent_everywhere_left_alone(on_two_ranks, tmp_path):
    on_two_ranks(sum_as_rank, free_port(), str(tmp_path))
    # 1 + 2 = 3; nothing + 5 = 5; nobody: still none; 1 + 1 = 2. Mean of 0 and 1: one half.
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        parameter, gradient = found.pop("strides")
        assert found == {"both": 3.0, "one": 5.0, "none": None, "norm": None, "mean": 0.5, "wide": [2.0]}
        assert gradient == parameter == (18, 1, 6, 2)  # Channels innermost: or else Adam leaves its fast path.


def resume_as_rank(rank, port, folder):
    with in_group(rank, 2, port):
        checkpoints, said = Checkpoints(connect(f"file://{folder}/store-{rank}"), "run"), []
        checkpoints.save(Checkpoint(step=5, tensors={}, state={}))
        for _ in range(2):
            try:
                said.append(str(newest_on_all_ranks(checkpoints, torch.device("cpu")).step))
            except StorageError as error:
                said.append(str(error))
            if rank == 1:  # What rank 0 does not see yet, as one short read would have it
                checkpoints.save(Checkpoint(step=10, tensors={}, state={}))
        (Path(folder) / f"said-{rank}").write_text("\n".join(said))


def test_ranks_that_would_resume_at_different_steps_all_stop(on_two_ranks, tmp_path):
    on_two_ranks(resume_as_rank, free_port(), str(tmp_path))
    for rank, step in ((0, 5), (1, 10)):
        first, second = (tmp_path / f"said-{rank}").read_text().splitlines()
        assert first == "5"
        assert f"ranks resume at different steps, this one at {step}, in the mean at 7.5;" in second
