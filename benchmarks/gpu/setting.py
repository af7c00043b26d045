"""What every row is measured with: the experiments' own runs on made-up shards, and a device."""

import shutil
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import made_up
import torch
from rows import CannotBeMeasuredError, Row, Size

from histoseg.errors import ConfigError
from histoseg.experiments import cerberus, table1
from histoseg.methods.maml import Maml
from histoseg.models.network import Network
from histoseg.pipeline.plan import available
from histoseg.runs.config import Run, Settings, Stage
from histoseg.shards.reader import MetaDataset
from histoseg.store.objects import connect
from histoseg.training.loop import Training
from histoseg.training.method import method_of

NEW_TASK = "monuseg"  # The row of Table 1 whose pretraining is measured, on all other tasks.


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A folder of shards, the size of everything, and the kind of device.

    Attributes:
        folder: Where `prepare` has put the shards.
        device: "cuda" or "cpu".
    """

    folder: Path
    size: Size
    device: str


def prepare(setting: Setting) -> None:
    """Write the shards."""
    size, store = setting.size, connect(f"file://{setting.folder}/store")
    made_up.put_table1(store, size.scale, size.image_px, size.num_images)
    made_up.put_cerberus(store, size.scale, size.image_px, size.num_images)


def training_of(row: Row, setting: Setting, method: Settings | None = None) -> Training:
    """The first stage of the experiment's run, in the row's precision; `method` replaces its own.

    Raises:
        CannotBeMeasuredError: If there is no such training.
    """
    run, dataset = _run_of(row.workload, setting)
    try:
        stage = _stage_of(run.stages[0], row, method)
    except ConfigError as error:
        raise CannotBeMeasuredError(str(error)) from error
    return Training(label=row.name, run=run, stage=stage, dataset=dataset.select(stage.select, run.seed), seed=run.seed)


def _stage_of(stage: Stage, row: Row, method: Settings | None) -> Stage:
    optim = replace(stage.optim, precision=row.precision, compile=row.compiled and row.doing == "training")
    return replace(stage, method=method or stage.method, optim=optim)


def network_of(training: Training) -> Network:
    """A new network for a training, with random weights: those that it starts from make no step faster."""
    tasks = {source: index.task for source, index in training.dataset.sources.items()}
    return method_of(training.stage).network(training.run, tasks, None, training.seed)


@cache
def _run_of(workload: str, setting: Setting) -> tuple[Run, MetaDataset]:
    is_cerberus = workload == "Cerberus"
    experiment: Any = cerberus if is_cerberus else table1
    scale, store = setting.size.scale, connect(f"file://{setting.folder}/store")
    names, layout = (made_up.CERBERUS if is_cerberus else table1.SOURCES), experiment.SCALES[scale].data.layout
    dataset = MetaDataset.open(store, names, layout, setting.folder / "cache")
    runs: list[Run] = experiment.runs(scale, 1, available(dataset.sources))
    if is_cerberus:
        return runs[0], dataset
    column = f"all_others.{'maml' if workload == 'Table 1, MAML' else 'transfer'}"
    return next(run for run in runs if (run.row, run.column) == (NEW_TASK, column)), dataset


def size_of(method: Any) -> int:
    """How many patches a step has."""
    return method.episodes * (method.support + method.query) if isinstance(method, Maml) else int(method.batch)


def describe(method: Any) -> str:
    """What a step has, in words."""
    if not isinstance(method, Maml):
        return f"{method.batch} patches"
    at_once = f", {method.micro_batch} at a time" if method.micro_batch else ""
    return f"{method.episodes} episodes of {method.support} + {method.query}{at_once}"


def halved(method: Any) -> Settings | None:
    """The method with half of the patches in memory at a time; None if there is only one.

    MAML goes on with the same step, a part of its images at a time; the others have half of the patches in a step.
    """
    if isinstance(method, Maml):
        held = method.micro_batch or method.support
        return replace(method, micro_batch=held // 2) if held > 1 else None
    smaller: Settings | None = replace(method, batch=method.batch // 2) if method.batch > 2 else None
    return smaller


def require_compiler(device: str) -> None:
    """Refuse to compile where torch has nothing to compile with."""
    if device == "cpu" and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        raise CannotBeMeasuredError("torch.compile needs a C++ compiler; install g++")
    if device == "cuda" and not any(map(shutil.which, ("gcc", "clang", "cc"))):
        raise CannotBeMeasuredError("torch.compile needs a C compiler for Triton's launchers; install gcc")


def require_bf16(device: str) -> None:
    """Refuse bfloat16 on a card that does not compute in it, where torch would imitate it slowly."""
    if device == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise CannotBeMeasuredError(f"{torch.cuda.get_device_name()} does not compute in bfloat16")
