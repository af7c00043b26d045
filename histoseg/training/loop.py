"""Pretraining: the same loop for every method, on any number of ranks, resumable at any step."""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from histoseg.distributed import sum_over_ranks
from histoseg.errors import TrainingError
from histoseg.loaders.prefetch import prefetch
from histoseg.models.cerberus.network import Cerberus
from histoseg.models.tensors import device_of, pinned
from histoseg.models.unet.network import UNet, build
from histoseg.runs.config import Data, Optim, Run
from histoseg.shards.reader import MetaDataset
from histoseg.training.checkpoint import Checkpoint, Checkpoints, Saving, newest_on_all_ranks, restore, tensors_of
from histoseg.training.gradients import average_statistics, largest_gradient, sum_gradients
from histoseg.training.listeners import MetricsFile
from histoseg.training.process import Process, use_precision
from histoseg.training.progress import Progress
from histoseg.types import Batch, Curve, MetaBatch, Method, MixedBatch, Place

logger = logging.getLogger(__name__)

CHECKPOINT_EVERY_S = 60.0
RECLAIMED_CHECKPOINT_EVERY_S = 10.0  # Once a machine is about to be taken away, which clouds tell 15 to 120 s before
ASK_EVERY_STEPS = 10  # Whether it is; all ranks wait for the answer, for some milliseconds.
CURVE_POINTS = 200
Network = TypeVar("Network", UNet, Cerberus)


@dataclass(frozen=True, kw_only=True)
class Trained(Generic[Network]):
    """A trained model, what its loss was on the way, and how long it took (over all attempts)."""

    model: Network
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


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What to train a model with.

    Attributes:
        label: What is trained, for people.
        seed: Names the random streams of the batches.
    """

    label: str
    method: Method
    data: Data
    optim: Optim
    seed: int


def pretrain(run: Run, dataset: MetaDataset, checkpoints: Checkpoints, process: Process) -> Trained[UNet]:
    """The U-Net of a run after all its steps, resumed from the newest checkpoint if there is one.

    Raises:
        TrainingError: If a loss or gradient is not a number; the last checkpoint stays as it was.
        StorageError: If ranks read different checkpoints.
    """
    model = build(run.model, {name: index.task.num_classes for name, index in dataset.sources.items()}, run.seed)
    lesson = Lesson(label=f"pretrain {run.label}", method=run.method, data=run.data, optim=run.optim, seed=run.seed)
    return train(model, lesson, dataset, checkpoints, process)


def train(
    model: Network, lesson: Lesson, dataset: MetaDataset, checkpoints: Checkpoints, process: Process
) -> Trained[Network]:
    """A model after all steps of a lesson, resumed from the newest checkpoint if there is one.

    Raises:
        TrainingError: If a loss or gradient is not a number; the last checkpoint stays as it was.
        StorageError: If ranks read different checkpoints.
    """
    optim = lesson.optim
    use_precision(optim.precision)
    model.to(process.device)
    model.bf16 = optim.precision == "bf16"
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=optim.lr)
    account, first_step = _resume(model, optimizer, checkpoints)
    if optim.compile:
        model.compile_parts()
    metrics = MetricsFile(checkpoints.store, checkpoints.folder, first_step)
    progress = Progress(lesson.label, optim.steps, [*process.listeners, metrics])
    batches = _batches(lesson, dataset, process, first_step)

    def write(checkpoint: Checkpoint) -> None:
        checkpoints.save(checkpoint)
        metrics.put()

    begin = saved = time.monotonic()
    reclaimed = False
    model.train()
    with Saving(write) as saving:
        for step in range(first_step + 1, optim.steps + 1):
            batch, waited_s = _timed_next(batches)
            optimizer.param_groups[0]["lr"] = optim.lr_at(step)
            loss = take_step(model, optimizer, lesson.method, batch, f"step {step}")
            if not reclaimed and step % ASK_EVERY_STEPS == 0 and process.is_reclaimed():
                logger.warning("%s: a machine is about to be taken away; saving step %d", lesson.label, step)
                reclaimed, saved = True, -math.inf
            if process.leads:
                saving.check()
                account.add(step, loss, optim.steps)
                progress.step(step, loss, num_images(batch, process.place), waited_s)
                save_every_s = RECLAIMED_CHECKPOINT_EVERY_S if reclaimed else CHECKPOINT_EVERY_S
                if step == optim.steps or time.monotonic() - saved >= save_every_s:
                    state = {**asdict(account), "seconds": account.seconds + time.monotonic() - begin}
                    saving.begin(Checkpoint(step=step, tensors=tensors_of(model, optimizer), state=state))
                    if reclaimed:
                        saving.wait()  # The machine may be gone before the next step.
                    saved = time.monotonic()
    model.interpret_parts()
    return Trained(model=model, curve=account.curve, seconds=account.seconds + time.monotonic() - begin)


def _batches(lesson: Lesson, dataset: MetaDataset, process: Process, first_step: int) -> Iterator[Any]:
    """This rank's share of each step, from where its device takes it fastest."""
    batches = lesson.method.batches(dataset, lesson.data, seed=lesson.seed, place=process.place, first_step=first_step)
    return prefetch(batches, pinned, threads=1, ahead=1) if process.device.type == "cuda" else batches


def take_step(model: nn.Module, optimizer: torch.optim.Optimizer, method: Method, batch: Any, where: str) -> float:
    """One step of the optimiser on all ranks' shares; returns the step's loss.

    Raises:
        TrainingError: If the loss or the gradient is not a number; no weight was changed then.
    """
    optimizer.zero_grad(set_to_none=True)
    share = torch.tensor(method.backward(model, batch), dtype=torch.float64, device=device_of(model))
    sum_over_ranks(share)
    sum_gradients(model)
    # Both in one transfer. The CPU waits for it, as `backward` has waited for its losses.
    loss: float
    loss, steepest = torch.stack([share, largest_gradient(model).to(share)]).tolist()
    if not (math.isfinite(loss) and math.isfinite(steepest)):
        found = f"loss is {loss}" if not math.isfinite(loss) else f"loss is {loss:g}, but its gradient {steepest}"
        keys = ", ".join(keys_of(batch)[:8])
        raise TrainingError(f"{where}: {found}; this rank's images: {keys}; lower the learning rate")
    optimizer.step()
    average_statistics(model)
    return loss


def keys_of(batch: Batch | MetaBatch | MixedBatch) -> list[str]:
    """The samples that a batch's patches were cut from."""
    if isinstance(batch, MixedBatch):
        return list(batch.keys)
    if isinstance(batch, Batch):
        return list(batch.patches.keys)
    return [key for episode in batch.episodes for key in (*episode.support.keys, *episode.query.keys)]


def num_images(batch: Batch | MetaBatch | MixedBatch, place: Place) -> int:
    """About how many patches all ranks have in this step."""
    return len(keys_of(batch)) * place.world_size


def _resume(model: nn.Module, optimizer: torch.optim.Optimizer, checkpoints: Checkpoints) -> tuple[_Account, int]:
    """What an earlier attempt reached, read by every rank: nobody writes before all have begun to step."""
    if (found := newest_on_all_ranks(checkpoints, device_of(model))) is None:
        return _Account(), 0
    restore(model, optimizer, found)
    logger.info("%s: resumed at step %d", checkpoints.folder, found.step)
    return _Account(**found.state), found.step


def _timed_next(batches: Iterator[Any]) -> tuple[Any, float]:
    begin = time.monotonic()
    return next(batches), time.monotonic() - begin
