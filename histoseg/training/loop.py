"""The one training loop: for every method and network, on any number of ranks, resumable at any step."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from histoseg.distributed import sum_over_ranks
from histoseg.errors import DataError, TrainingError
from histoseg.loaders.prefetch import prefetch
from histoseg.models.network import Network
from histoseg.models.tensors import device_of, pinned
from histoseg.records.schema import Point
from histoseg.runs.config import Optim, Run, Stage
from histoseg.shards.reader import MetaDataset
from histoseg.training.checkpoint import Checkpoint, Checkpoints, Saving, newest_on_all_ranks, restore, tensors_of
from histoseg.training.gradients import average_statistics, largest_gradient, sum_gradients
from histoseg.training.listeners import MetricsFile, Progress
from histoseg.training.method import Method, method_of
from histoseg.training.process import Process, use_precision
from histoseg.types import StepBatch

logger = logging.getLogger(__name__)

CHECKPOINT_EVERY_S = 60.0
RECLAIMED_CHECKPOINT_EVERY_S = 10.0  # Once a machine is about to be taken away: clouds give 15 to 120 s of notice.
ASK_EVERY_STEPS = 10  # Whether it is. All ranks wait for the answer, for some milliseconds.
CURVE_POINTS = 200
SGD_MOMENTUM, SGD_DECAY = 0.99, 3e-5  # Isensee et al. 2021 and published code of nnU-Net


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a stage trains, and with what."""

    label: str  # For people
    run: Run
    stage: Stage
    dataset: MetaDataset
    seed: int  # Names the random streams of the batches
    validate: Callable[[Network], float] | None = None  # Scores each epoch; None where the last weights are kept


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained network, its learning curve, and the wall time over all attempts."""

    model: Network
    curve: tuple[Point, ...]
    best_step: int  # The step whose weights the network has
    seconds: float


@dataclass(kw_only=True)
class _Account:
    """What a checkpoint remembers besides the network: time spent, the curve, and the best weights so far."""

    seconds: float = 0.0
    curve: list[Point] = field(default_factory=list)
    pending: list[float] = field(default_factory=list)
    best_step: int = 0
    best_score: float = -1.0
    best: Mapping[str, Tensor] = field(default_factory=dict)

    def add_point(self, step: int, score: float, model: Network) -> None:
        """Put the mean loss since the last point on the curve; note the weights if no earlier ones scored as well."""
        self.curve.append(Point(step=step, loss=sum(self.pending) / len(self.pending), score=score))
        self.pending = []
        if score > self.best_score:
            self.best_step, self.best_score = step, score
            self.best = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def state(self, seconds: float) -> dict[str, object]:
        """All but the tensors, as JSON holds it."""
        curve = [point.model_dump(mode="json") for point in self.curve]
        best = {"best_step": self.best_step, "best_score": self.best_score}
        return {"seconds": seconds, "curve": curve, "pending": list(self.pending), **best}


@dataclass(kw_only=True)
class _State:
    """A training under way; `step` steps were done when this process began."""

    model: Network
    optimizer: torch.optim.Optimizer
    account: _Account
    step: int


@dataclass(frozen=True, kw_only=True)
class _Schedule:
    """How many steps there are, and at which the curve gets a point; `epoch_steps` is 0 where epochs do not count."""

    steps: int
    epoch_steps: int
    patience: int

    def is_point(self, step: int) -> bool:
        every = self.epoch_steps or max(1, self.steps // CURVE_POINTS)
        return step % every == 0 or step == self.steps

    def is_over(self, step: int, best_step: int) -> bool:
        """Whether training ends before this step, as too many epochs passed without a better score."""
        if not (self.patience and best_step) or (step - 1) % self.epoch_steps:
            return False
        return (step - 1 - best_step) // self.epoch_steps >= self.patience


def train(model: Network, training: Training, checkpoints: Checkpoints, process: Process) -> Trained:
    """The network after all steps of a stage, resumed from the newest checkpoint if there is one.

    Raises:
        TrainingError: If a loss or gradient is NaN or infinite; the last checkpoint stays as it was.
        StorageError: If ranks read different checkpoints.
        DataError: If no validation score is defined, so that no epoch can be chosen.
    """
    optim, method = training.stage.optim, method_of(training.stage)
    use_device(model, training.stage, process)
    optimizer = new_optimizer(model, optim)
    state = _resume(model, optimizer, checkpoints)
    epoch_steps = method.steps_per_epoch(training.dataset) if optim.epochs else 0
    steps = optim.steps or optim.epochs * epoch_steps
    account, schedule = state.account, _Schedule(steps=steps, epoch_steps=epoch_steps, patience=optim.patience)
    if optim.compile:
        model.compile_parts()
    batches = step_batches(training, process, state.step)
    model.train()
    with _Watch(training, checkpoints, process, state, schedule.steps) as watch:
        for step in range(state.step + 1, schedule.steps + 1):
            if schedule.is_over(step, account.best_step):
                break
            begin = time.monotonic()
            batch = next(batches)
            waited_s = time.monotonic() - begin
            optimizer.param_groups[0]["lr"] = optim.lr_at(step)
            loss = take_step(model, optimizer, method, batch, f"{training.label} step {step}")
            account.pending.append(loss)
            if schedule.is_point(step):
                account.add_point(step, _validate(model, training), model)
            watch.after(step, loss, len(batch.keys), waited_s)
    model.interpret_parts()
    return _finish(model, training, account, schedule.steps)


def use_device(model: Network, stage: Stage, process: Process) -> None:
    """Move a network to this process's device, where it computes in the precision of a stage."""
    use_precision(stage.optim.precision)
    model.to(process.device)
    model.bf16 = stage.optim.precision == "bf16"


def as_saved(model: Network) -> Network:
    """The network as `load_model` gives it, so that what is scored is what is used: in float32, and not in training.

    On a GPU float32 is not TF32 then, as in `histoseg segment`.
    """
    use_precision("fp32")
    model.bf16 = False
    return model.eval()


def _validate(model: Network, training: Training) -> float:
    """The validation score of the network as it is, nan if there is none; then training goes on."""
    if training.validate is None:
        return math.nan
    score = training.validate(model.eval())
    model.train()
    return score


class _Watch:
    """What happens beside the steps: progress is shown, checkpoints are written, reclaimed machines are noticed."""

    def __init__(
        self, training: Training, checkpoints: Checkpoints, process: Process, state: _State, steps: int
    ) -> None:
        self._process, self._checkpoints, self._state = process, checkpoints, state
        self._metrics = MetricsFile(checkpoints.store, checkpoints.folder, state.step)
        self._progress = Progress(training.label, steps, [*process.listeners, self._metrics])
        self._saving = Saving(self._write)
        self._label = training.label
        self._begin = self._saved = time.monotonic()
        self._before_s = state.account.seconds
        self._reclaimed = False

    def __enter__(self) -> "_Watch":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._saving.__exit__(kind, *rest)
        self._state.account.seconds = self._seconds()
        if kind is None and self._process.leads:
            self._metrics.put()

    def after(self, step: int, loss: float, num_patches: int, waited_s: float) -> None:
        """Count a step, show it, and save the training if it is time to."""
        if not self._reclaimed and step % ASK_EVERY_STEPS == 0 and self._process.is_reclaimed():
            logger.warning("%s: a machine is about to be taken away; saving step %d", self._label, step)
            self._reclaimed, self._saved = True, -math.inf
        if not self._process.leads:
            return
        self._saving.check()
        self._progress.step(step, loss, num_patches * self._process.place.world_size, waited_s)
        every_s = RECLAIMED_CHECKPOINT_EVERY_S if self._reclaimed else CHECKPOINT_EVERY_S
        if time.monotonic() - self._saved >= every_s:
            self._saving.begin(self._checkpoint(step))
            if self._reclaimed:
                self._saving.wait()  # The machine may be gone before the next step.
            self._saved = time.monotonic()

    def _checkpoint(self, step: int) -> Checkpoint:
        account = self._state.account
        best = {f"best.{name}": value.to("cpu") for name, value in account.best.items()}
        tensors = tensors_of(self._state.model, self._state.optimizer) | best
        return Checkpoint(step=step, tensors=tensors, state=account.state(self._seconds()))

    def _seconds(self) -> float:
        return self._before_s + time.monotonic() - self._begin

    def _write(self, checkpoint: Checkpoint) -> None:
        self._checkpoints.save(checkpoint)
        self._metrics.put()


def _finish(model: Network, training: Training, account: _Account, steps: int) -> Trained:
    """What a stage leaves: the network with the weights that are to be kept."""
    if training.stage.keep == "last":
        return Trained(model=model, curve=tuple(account.curve), best_step=steps, seconds=account.seconds)
    if not account.best:
        sources = ", ".join(training.stage.select.sources)
        raise DataError(f"{sources}: no pixel of its val split is labelled, so no epoch can be chosen")
    model.load_state_dict(account.best)
    return Trained(model=model, curve=tuple(account.curve), best_step=account.best_step, seconds=account.seconds)


def new_optimizer(model: Network, optim: Optim) -> torch.optim.Optimizer:
    """The optimiser of the parameters that a stage trains."""
    trained = [p for p in model.parameters() if p.requires_grad]
    if optim.optimizer == "sgd":
        return torch.optim.SGD(trained, lr=optim.lr, momentum=SGD_MOMENTUM, weight_decay=SGD_DECAY, nesterov=True)
    return torch.optim.Adam(trained, lr=optim.lr)


def step_batches(training: Training, process: Process, first_step: int) -> Iterator[StepBatch]:
    """This rank's share of each step, from where its device takes it fastest."""
    batches = method_of(training.stage).batches(
        training.dataset, training.run, seed=training.seed, place=process.place, first_step=first_step
    )
    return prefetch(batches, pinned, threads=1, ahead=1) if process.device.type == "cuda" else batches


def take_step(model: Network, optimizer: torch.optim.Optimizer, method: Method, batch: StepBatch, where: str) -> float:
    """One step of the optimiser on all ranks' shares; returns the step's loss.

    Raises:
        TrainingError: If the loss or the gradient is NaN or infinite; no weight was changed then.
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
        keys = ", ".join(batch.keys[:8])
        raise TrainingError(f"{where}: {found}; this rank's images: {keys}; lower the learning rate")
    optimizer.step()
    average_statistics(model)
    return loss


def _resume(model: Network, optimizer: torch.optim.Optimizer, checkpoints: Checkpoints) -> _State:
    """Where an earlier attempt was. Every rank reads it: no rank writes before all have begun to step."""
    if (found := newest_on_all_ranks(checkpoints, device_of(model))) is None:
        return _State(model=model, optimizer=optimizer, account=_Account(), step=0)
    restore(model, optimizer, found)
    logger.info("%s: resumed at step %d", checkpoints.folder, found.step)
    kept = dict(found.state)
    curve = [Point.model_validate(point) for point in kept.pop("curve")]
    best = {name[5:]: value for name, value in found.tensors.items() if name.startswith("best.")}
    return _State(model=model, optimizer=optimizer, account=_Account(best=best, curve=curve, **kept), step=found.step)
