"""What every result record has in common: what it came from, and that it is written once."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from histoseg.distributed import sum_over_ranks
from histoseg.errors import DataError
from histoseg.machine import git_commit, versions
from histoseg.runs.config import AnyRun
from histoseg.runs.names import RECORD_FORMAT, cell_id, pretraining_id, record_key, run_folder, to_json
from histoseg.shards.reader import MetaDataset
from histoseg.shards.tiles import smallest_tile_px
from histoseg.store.objects import Store
from histoseg.training.process import Process

logger = logging.getLogger(__name__)

PANELS = 2  # Test images whose pictures are kept with a record
PANEL_PX = 512

SomeRun = TypeVar("SomeRun", bound=AnyRun)
Trained = TypeVar("Trained")


def folder_of(run: AnyRun, dataset: MetaDataset) -> str:
    """The folder of the model that a run shares with those that differ only in what follows."""
    return run_folder(pretraining_id(run, dataset.checksums))


def not_recorded(runs: Mapping[str, SomeRun], store: Store, process: Process) -> list[SomeRun]:
    """The runs without a record. If ranks saw the store at different moments, they agree on the longer list."""
    missing = [store.size(key) is None for key in runs]
    votes = sum_over_ranks(torch.tensor(missing, dtype=torch.int64, device=process.device)).tolist()
    return [run for run, count in zip(runs.values(), votes, strict=True) if count]


def open_dataset(runs: Sequence[AnyRun], store: Store, cache: Path) -> MetaDataset:
    """Every source that some runs of the same patches read.

    Raises:
        DataError: If a source was not prepared, or in tiles too small for the augmentation.
    """
    names = dict.fromkeys(source for run in runs for source in run.sources)
    data = runs[0].data
    dataset = MetaDataset.open(store, names, data.layout, cache)
    needed = smallest_tile_px(data)
    if small := [name for name, index in dataset.sources.items() if index.tile_px < needed]:
        found = dataset.sources[small[0]].tile_px
        raise DataError(
            f"{', '.join(small)} lies in tiles of {found} px, but this augmentation needs {needed}; prepare it again"
        )
    return dataset


def complete_group(
    runs: Sequence[SomeRun],
    store: Store,
    cache: Path,
    process: Process,
    train: Callable[[SomeRun, MetaDataset, Store, Process], Trained],
    finish: Callable[[SomeRun, Trained, MetaDataset, Store, Process], None],
) -> list[str]:
    """Record every run of a group that shares one training; what is recorded already is left alone.

    Args:
        runs: Runs that differ only in what follows the training.
        store: Where shards are read and results are written.
        cache: A folder for verified copies of shards.
        process: This process among those that train together.
        train: Gives the model that the runs share.
        finish: Does what follows, for one run, up to its record.

    Returns:
        The store keys of the runs' records.

    Raises:
        DataError: If a source was not prepared, or its shards are damaged.
        TrainingError: If a loss is not a number.
    """
    dataset = open_dataset(runs, store, cache)
    keys = [record_key(run.experiment, cell_id(run, dataset.checksums)) for run in runs]
    if todo := not_recorded(dict(zip(keys, runs, strict=True)), store, process):
        trained = train(todo[0], dataset, store, process)
        for run in todo:
            finish(run, trained, dataset, store, process)
    return keys


def describe_training(run: AnyRun, dataset: MetaDataset, store: Store) -> None:
    """Write `run.json` beside a training before its first step: what it is made from, and by what code."""
    described = {"run": to_json(run), "checksums": dataset.checksums, "git_commit": git_commit()}
    store.put(f"{folder_of(run, dataset)}/run.json", json.dumps({**described, "versions": versions()}).encode())


def header(run: AnyRun, dataset: MetaDataset, process: Process, seconds: Mapping[str, float]) -> dict[str, Any]:
    """What was run, on what, by what code and how long: all of a record but its results."""
    on_gpu = process.device.type == "cuda"
    return {
        "format": RECORD_FORMAT,
        "cell": cell_id(run, dataset.checksums),
        "run": to_json(run),
        "pretraining": pretraining_id(run, dataset.checksums),
        "checksums": {source: dataset.checksums[source] for source in run.sources},
        "origins": {source: dataset.sources[source].origin for source in run.sources},
        "git_commit": git_commit(),
        "versions": versions(),
        "device": torch.cuda.get_device_name(process.device) if on_gpu else "cpu",
        "world_size": process.place.world_size,
        "attempt": process.attempt,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "seconds": dict(seconds),
        "gpu_seconds": sum(seconds.values()) * (process.place.world_size if on_gpu else 0),
    }


def put_record(record: Mapping[str, Any], experiment: str, store: Store, headline: str) -> None:
    """Write a record unless there is one."""
    if store.put_if_absent(record_key(experiment, record["cell"]), json.dumps(record).encode()):
        logger.info("cell %s recorded: %s", record["cell"], headline)


def put_pictures(
    store: Store, folder: str, key: str, pictures: Mapping[str, UInt8[np.ndarray, "..."]]
) -> dict[str, str]:
    """Store pictures of one image as PNG, shrunk to at most PANEL_PX; returns their keys, and the image's.

    A picture of one channel is a label map and is not interpolated.
    """
    keys = {name: f"{folder}/{key}-{name}.png" for name in pictures}
    for name, picture in pictures.items():
        height, width = picture.shape[:2]
        factor = min(1.0, PANEL_PX / max(height, width))
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        if picture.ndim == 3:
            shrunk = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), size, interpolation=cv2.INTER_AREA)
        else:
            shrunk = cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST)
        store.put(keys[name], np.asarray(cv2.imencode(".png", shrunk)[1]).tobytes())
    return {"key": key, **keys}


def defined(value: Any) -> Any:
    """The value with what is undefined (nan) as None, for JSON has no nan."""
    if isinstance(value, Mapping):
        return {name: defined(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [defined(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value
