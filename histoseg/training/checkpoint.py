"""Checkpoints in the store: tensors as safetensors, everything else as JSON, nothing pickled.

The JSON is put last and holds the hash of the tensors, so a checkpoint that can be listed is complete.
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from histoseg.distributed import sum_over_ranks, world_size
from histoseg.errors import CheckpointError, StorageError
from histoseg.store.objects import Store

logger = logging.getLogger(__name__)

_NAME = re.compile(r"step-(\d{8})\.json")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A moment of a training: `tensors` by dotted name, and JSON-able `state`."""

    step: int
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


class Checkpoints:
    """The checkpoints below one folder of a store; the newest `keep` stay."""

    def __init__(self, store: Store, folder: str, keep: int = 2) -> None:
        self.store = store
        self.folder = folder
        self.keep = keep

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, then delete those too old to keep."""
        body = save({name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()})
        record = {**checkpoint.state, "step": checkpoint.step, "sha256": hashlib.sha256(body).hexdigest()}
        self.store.put(self._key(checkpoint.step, "safetensors"), body)
        self.store.put(self._key(checkpoint.step, "json"), json.dumps(record).encode())
        self._delete(self.steps()[: -self.keep])

    def clear(self) -> None:
        """Delete every checkpoint, once the result is written, and what a killed process left of one."""
        for key in self.store.list(f"{self.folder}/step-"):
            self.store.delete(key)

    def _delete(self, steps: list[int]) -> None:
        for step in steps:
            for kind in ("json", "safetensors"):
                self.store.delete(self._key(step, kind))

    def steps(self) -> list[int]:
        """The steps of the whole checkpoints, ascending."""
        names = (key.rpartition("/")[2] for key in self.store.list(f"{self.folder}/step-"))
        return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))

    def newest(self) -> Checkpoint | None:
        """The newest undamaged checkpoint; None without one."""
        for step in reversed(self.steps()):
            try:
                return self.load(step)
            except CheckpointError as error:
                logger.warning("%s; going back to the one before", error)
        return None

    def load(self, step: int) -> Checkpoint:
        """One checkpoint."""
        record = json.loads(self.store.get(self._key(step, "json")))
        key = self._key(step, "safetensors")
        body = self.store.get(key)
        if hashlib.sha256(body).hexdigest() != record.pop("sha256"):
            raise CheckpointError(f"{self.store.url}/{key} is damaged; delete it to train again")
        return Checkpoint(step=record.pop("step"), tensors=load(body), state=record)

    def _key(self, step: int, kind: str) -> str:
        return f"{self.folder}/step-{step:08d}.{kind}"


class Saving:
    """Writes checkpoints on a separate thread, one at a time, so that training goes on meanwhile.

    An error is raised by the next call, or at the end of this context, which waits for the last checkpoint.
    """

    def __init__(self, write: Callable[[Checkpoint], None]) -> None:
        self._write = write
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="saving")
        self._last: Future[None] | None = None

    def begin(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, after the one before is written."""
        self.wait()
        self._last = self._thread.submit(self._write, checkpoint)

    def check(self) -> None:
        """Raise the error of the last checkpoint, if it failed."""
        if self._last is not None and self._last.done():
            self._last.result()

    def wait(self) -> None:
        """Return when the last checkpoint is written."""
        if self._last is not None:
            self._last.result()

    def __enter__(self) -> "Saving":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown()
        if kind is None:  # Otherwise the training has failed already, and that is what it ends with.
            self.check()


def newest_on_all_ranks(checkpoints: Checkpoints, device: torch.device) -> Checkpoint | None:
    """The newest undamaged checkpoint, after checking that every rank has read the same one.

    Raises:
        StorageError: If ranks have read different ones; raised on all ranks. Reading again may help.
    """
    found = checkpoints.newest()
    step = 0 if found is None else found.step
    # Numbers are equal if and only if their mean square is their squared mean.
    total, squares = sum_over_ranks(torch.tensor([step, step**2], device=device)).tolist()
    if squares * world_size() != total**2:
        raise StorageError(
            f"{checkpoints.store.url}/{checkpoints.folder}: ranks resume at different steps, this one at {step}, in "
            f"the mean at {total / world_size():g}; some read an older checkpoint, so all must read again"
        )
    return found


def tensors_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All tensors of a model and its optimiser, by dotted name, detached copies on the CPU.

    Those of any optimiser begin with "adam.", as in checkpoints that were written when there was no other one.
    """
    found = {f"model.{name}": value for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for part, value in optimizer.state.get(parameter, {}).items():
            found[f"adam.{part}.{name}"] = value
    return {name: value.detach().to("cpu", copy=True) for name, value in found.items()}


def restore(model: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: Checkpoint) -> None:
    """Restore a model and its optimiser to the state that `tensors_of` saved."""
    restore_model(model, checkpoint)
    for name, parameter in model.named_parameters():
        parts = [key for key in checkpoint.tensors if key.startswith("adam.") and key.split(".", 2)[2] == name]
        if parts:
            optimizer.state[parameter] = {
                (part := key.split(".", 2)[1]): _as_it_was(part, checkpoint.tensors[key], parameter) for key in parts
            }


def _as_it_was(part: str, saved: Tensor, parameter: nn.Parameter) -> Tensor:
    """Adam's step count where it made it, on the CPU; the moments beside their parameter, in its order of memory."""
    return saved.clone() if part == "step" else torch.empty_like(parameter).copy_(saved)


def restore_model(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Put only the model's own tensors back."""
    saved = {name[6:]: value for name, value in checkpoint.tensors.items() if name.startswith("model.")}
    wanted = model.state_dict()
    if differing := sorted(set(saved) ^ set(wanted)) or [n for n in wanted if wanted[n].shape != saved[n].shape]:
        raise CheckpointError(f"the checkpoint is of another model: {', '.join(differing[:5])} differ")
    model.load_state_dict(saved)
