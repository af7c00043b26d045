"""Refining on a new task: fine-tune all weights, choose the epoch on val, never look at test."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from histoseg.errors import DataError
from histoseg.loaders.batches import BatchSampler, batch_loader
from histoseg.methods.transfer import Transfer
from histoseg.models.tensors import device_of
from histoseg.models.unet.network import UNet, with_new_head
from histoseg.runs.config import Run
from histoseg.seeds import number_of, stream
from histoseg.shards.index import SourceIndex
from histoseg.shards.reader import MetaDataset
from histoseg.training.checkpoint import Checkpoint, Checkpoints, newest_on_all_ranks, restore, tensors_of
from histoseg.training.listeners import MetricsFile
from histoseg.training.loop import num_images, take_step
from histoseg.training.process import Process
from histoseg.training.progress import Progress
from histoseg.types import Batch, Curve

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Refined:
    """A model refined on a new task, at the epoch that scored best on val."""

    model: UNet
    best_epoch: int
    curve: Curve
    seconds: float


@dataclass(kw_only=True)
class _Account:
    """What a checkpoint remembers: the curve, and the best epoch's tensors apart from the current ones."""

    best_epoch: int = 0
    best_score: float = -1.0
    seconds: float = 0.0
    curve: Curve = field(default_factory=list)
    best: Mapping[str, Tensor] = field(default_factory=dict)

    def add(self, epoch: int, loss: float, score: float, model: UNet) -> None:
        """Note an epoch; keep its tensors if none before scored as well."""
        self.curve.append({"epoch": epoch, "loss": loss, "val_miou": score})
        if score > self.best_score:
            self.best_epoch, self.best_score = epoch, score
            self.best = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """What JSON can hold of it."""
        return {name: value for name, value in vars(self).items() if name != "best"}


def refine(
    run: Run,
    pretrained: UNet,
    dataset: MetaDataset,
    checkpoints: Checkpoints,
    val_score: Callable[[UNet], float],
    process: Process,
) -> Refined:
    """Refine a copy of a pretrained model on the run's new task, resumed from the newest checkpoint if there is one.

    Raises:
        TrainingError: If a loss or gradient is not a number.
        StorageError: If ranks read different checkpoints.
    """
    index = dataset.sources[run.new_task]
    seed = number_of(f"{run.new_task} {run.seed}")
    model = with_new_head(pretrained, run.new_task, index.task.num_classes, seed)
    model.to(process.device)
    model.bf16 = pretrained.bf16
    optimizer = torch.optim.Adam(model.parameters(), lr=run.refine.lr)
    account, first_epoch = _resume(model, optimizer, checkpoints)
    sampler = BatchSampler(rows={run.new_task: training_rows(run, index)}, batch=run.refine.batch, seed=seed)
    steps = -(-sampler.epoch_size // run.refine.batch)
    batches = batch_loader(dataset, run.data, sampler, place=process.place, first_step=first_epoch * steps)
    metrics = MetricsFile(checkpoints.store, checkpoints.folder, first_epoch * steps)
    progress = Progress(_label(run), run.refine.epochs * steps, [*process.listeners, metrics])
    begin, spent = time.monotonic(), account.seconds
    for epoch in range(first_epoch + 1, run.refine.epochs + 1):
        if run.refine.patience and epoch > account.best_epoch + run.refine.patience > run.refine.patience:
            break
        loss = _train_epoch(model, optimizer, islice(batches, steps), progress, (epoch - 1) * steps, process)
        account.add(epoch, loss, val_score(model), model)
        account.seconds = spent + time.monotonic() - begin
        if process.leads:
            _save(model, optimizer, account, epoch, checkpoints)
            metrics.put()
    if not account.best:
        raise DataError(f"{run.new_task}: no pixel of its val split is labelled, so no epoch can be chosen")
    model.load_state_dict(account.best)
    return Refined(model=model, best_epoch=account.best_epoch, curve=account.curve, seconds=account.seconds)


def _train_epoch(
    model: UNet,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[Batch],
    progress: Progress,
    steps_before: int,
    process: Process,
) -> float:
    """The mean loss of an epoch's steps."""
    method = Transfer()
    losses: list[float] = []
    model.train()
    waiting = time.monotonic()
    for step, batch in enumerate(batches, steps_before + 1):
        waited_s = time.monotonic() - waiting
        losses.append(take_step(model, optimizer, method, batch, f"{progress.label} step {step}"))
        if process.leads:
            progress.step(step, losses[-1], num_images(batch, process.place), waited_s)
        waiting = time.monotonic()
    return sum(losses) / len(losses)


def training_rows(run: Run, index: SourceIndex) -> np.ndarray:
    """The samples to refine on: the new task's train split, or all tiles of `shots` images of it."""
    rows = index.rows("train")
    if not run.refine.shots:
        return rows
    images = np.asarray(index.samples.image)[rows]
    names = np.unique(images)
    rng = stream(run.seed, number_of(run.new_task))
    chosen = rng.choice(names, size=min(run.refine.shots, len(names)), replace=False)
    return np.asarray(rows[np.isin(images, chosen)])


def _label(run: Run) -> str:
    return f"refine {run.new_task} from {run.column} {type(run.method).__name__}"


def _save(
    model: UNet, optimizer: torch.optim.Optimizer, account: _Account, epoch: int, checkpoints: Checkpoints
) -> None:
    best = {f"best.{name}": value.to("cpu") for name, value in account.best.items()}
    tensors = tensors_of(model, optimizer) | best
    checkpoints.save(Checkpoint(step=epoch, tensors=tensors, state=account.state()))


def _resume(model: UNet, optimizer: torch.optim.Optimizer, checkpoints: Checkpoints) -> tuple[_Account, int]:
    if (found := newest_on_all_ranks(checkpoints, device_of(model))) is None:
        return _Account(), 0
    restore(model, optimizer, found)
    best = {name[5:]: value for name, value in found.tensors.items() if name.startswith("best.")}
    return _Account(best=best, **found.state), found.step
