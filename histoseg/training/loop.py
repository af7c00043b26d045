"""Pretraining: the same loop for every method, on any number of ranks, resumable at any step."""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from histoseg.config import Run
from histoseg.errors import TrainingError
from histoseg.models.tensors import device_of
from histoseg.models.unet import UNet, build
from histoseg.shards.reader import MetaDataset
from histoseg.training.checkpoint import Checkpoint, Checkpoints, restore, tensors_of
from histoseg.training.gradients import average_statistics, sum_gradients, sum_over_ranks
from histoseg.training.process import Process
from histoseg.training.progress import Progress
from histoseg.types import Batch, Curve, MetaBatch, Method, Place

logger = logging.getLogger(__name__)

CHECKPOINT_EVERY_S = 60.0
CURVE_POINTS = 200


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A pretrained model, what its loss was on the way, and how long it took (over all attempts)."""

    model: UNet
    curve: Curve
    seconds: float


@dataclass(kw_only=True)
class _Account:
    """What a checkpoint remembers besides tensors: time spent, and the loss as means over equal numbers of steps."""

    seconds: float = 0.0
    curve: Curve = field(default_factory=list)
    pending: list[float] = field(default_factory=list)

    def add(self, step: int, loss: float, steps: int) -> None:
        self.pending.append(loss)
        if step % max(1, steps // CURVE_POINTS) == 0 or step == steps:
            self.curve.append({"step": step, "loss": sum(self.pending) / len(self.pending)})
            self.pending = []


def pretrain(run: Run, dataset: MetaDataset, checkpoints: Checkpoints, process: Process) -> Pretrained:
    """The model of a run after all its steps, resumed from the newest checkpoint if there is one.

    Raises:
        TrainingError: If a loss is not a number; the last checkpoint stays as it was.
    """
    model = build(run.model, {name: index.task.num_classes for name, index in dataset.sources.items()}, run.seed)
    model.to(process.device)
    model.bf16 = run.optim.precision == "bf16"
    optimizer = torch.optim.Adam(model.parameters(), lr=run.optim.lr)
    account, first_step = _resume(model, optimizer, checkpoints)
    if run.optim.compile:
        model.features = torch.compile(model.features)  # type: ignore[method-assign]  # torch's own way
    progress = Progress(f"pretrain {run.column} {type(run.method).__name__}", run.optim.steps, process.on_status)
    progress.resume(checkpoints.store, checkpoints.folder, first_step)
    batches = run.method.batches(dataset, run.data, seed=run.seed, place=process.place, first_step=first_step)
    begin = saved = time.monotonic()
    model.train()
    for step in range(first_step + 1, run.optim.steps + 1):
        batch, waited_s = _timed_next(batches)
        loss = take_step(model, optimizer, run.method, batch, f"step {step}")
        if process.leads:
            account.add(step, loss, run.optim.steps)
            progress.step(step, loss, num_images(batch, process.place), waited_s)
            if step == run.optim.steps or time.monotonic() - saved >= CHECKPOINT_EVERY_S:
                state = {**asdict(account), "seconds": account.seconds + time.monotonic() - begin}
                checkpoints.save(Checkpoint(step=step, tensors=tensors_of(model, optimizer), state=state))
                progress.put(checkpoints.store, checkpoints.folder)
                saved = time.monotonic()
    return Pretrained(model=model, curve=account.curve, seconds=account.seconds + time.monotonic() - begin)


def take_step(model: UNet, optimizer: torch.optim.Optimizer, method: Method, batch: Any, where: str) -> float:
    """One step of the optimiser on all ranks' shares; returns the step's loss.

    Raises:
        TrainingError: If the loss is not a number; nothing was changed then.
    """
    optimizer.zero_grad(set_to_none=True)
    share = method.backward(model, batch)
    loss = float(sum_over_ranks(torch.tensor(share, dtype=torch.float64, device=device_of(model))))
    if not math.isfinite(loss):
        keys = ", ".join(keys_of(batch)[:8])
        raise TrainingError(f"{where}: loss is {loss}; this rank's images: {keys}; lower the learning rate")
    sum_gradients(model)
    optimizer.step()
    average_statistics(model)
    return loss


def keys_of(batch: Batch | MetaBatch) -> list[str]:
    """The samples that a batch's patches were cut from."""
    if isinstance(batch, Batch):
        return list(batch.patches.keys)
    return [key for episode in batch.episodes for key in (*episode.support.keys, *episode.query.keys)]


def num_images(batch: Batch | MetaBatch, place: Place) -> int:
    """About how many patches all ranks have in this step."""
    return len(keys_of(batch)) * place.world_size


def _resume(model: UNet, optimizer: torch.optim.Optimizer, checkpoints: Checkpoints) -> tuple[_Account, int]:
    """What an earlier attempt reached, read by every rank: nobody writes before all have begun to step."""
    if (found := checkpoints.newest()) is None:
        return _Account(), 0
    restore(model, optimizer, found)
    logger.info("%s: resumed at step %d", checkpoints.folder, found.step)
    return _Account(**found.state), found.step


def _timed_next(batches: Iterator[Any]) -> tuple[Any, float]:
    begin = time.monotonic()
    return next(batches), time.monotonic() - begin
