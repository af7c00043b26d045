"""From a run to its result record: pretrain, refine on the new task, score whole test images, write once.

A record is immutable: it is put only if there is none, under the hash of its run and data. Whatever dies, and
whoever repeats it, each cell of a table is recorded once, and tables are built from records alone.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors.torch import save

from histoseg.config import Run, cell_id, pretraining_id, to_json
from histoseg.errors import DataError
from histoseg.inference import score
from histoseg.loaders.streams import stream
from histoseg.metrics.iou import (
    bootstrap_interval,
    iou_per_class,
    majority_miou,
    miou_pooled,
    miou_present,
    miou_reference,
)
from histoseg.models.unet import UNet
from histoseg.provenance import git_commit, versions
from histoseg.ranks import sum_over_ranks
from histoseg.shards.reader import MetaDataset
from histoseg.shards.tiles import smallest_tile_px
from histoseg.storage import Store
from histoseg.training.checkpoint import Checkpoints
from histoseg.training.loop import Trained, pretrain
from histoseg.training.process import Process
from histoseg.training.refine import Refined, refine
from histoseg.types import Image, Sample, SemanticMap, Split

logger = logging.getLogger(__name__)

RECORD_FORMAT = 1
PANELS = 2  # Test images whose pictures are kept with a record
PANEL_PX = 512


def record_key(experiment: str, cell: str) -> str:
    """Where a cell's record lies in the store."""
    return f"records/{experiment}/{cell}.json"


def run_folder(pretraining: str) -> str:
    """Where a pretraining keeps its checkpoints, and the refinements below it."""
    return f"runs/{pretraining}"


def complete(runs: Sequence[Run], store: Store, cache: Path, process: Process) -> list[str]:
    """Record every run of a group that shares one pretraining; what is recorded already is left alone.

    Returns:
        The store keys of the runs' records.

    Raises:
        DataError: If a source was not prepared, or its shards are damaged.
        TrainingError: If a loss is not a number.
    """
    dataset = open_dataset(runs, store, cache)
    keys = [record_key(run.experiment, cell_id(run, dataset.checksums)) for run in runs]
    if todo := _not_recorded(dict(zip(keys, runs, strict=True)), store, process):
        pretrained = pretrain_group(todo[0], dataset, store, process)
        for run in todo:
            _complete_cell(run, pretrained, dataset, store, process)
    return keys


def open_dataset(runs: Sequence[Run], store: Store, cache: Path) -> MetaDataset:
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


def pretrain_group(run: Run, dataset: MetaDataset, store: Store, process: Process) -> Trained[UNet]:
    """The model that a run and all that differ from it only in what follows start from."""
    folder = run_folder(pretraining_id(run, dataset.checksums))
    if process.leads:
        described = {"run": to_json(run), "checksums": dataset.checksums, "git_commit": git_commit()}
        store.put(f"{folder}/run.json", json.dumps({**described, "versions": versions()}).encode())
    predecessors = MetaDataset(sources={name: dataset.sources[name] for name in run.predecessors}, cache=dataset.cache)
    return pretrain(run, predecessors, Checkpoints(store, f"{folder}/pretrain"), process)


def _not_recorded(runs: Mapping[str, Run], store: Store, process: Process) -> list[Run]:
    """The runs without a record. If ranks saw the store at different moments, they agree on the longer list."""
    missing = [store.size(key) is None for key in runs]
    votes = sum_over_ranks(torch.tensor(missing, dtype=torch.int64, device=process.device)).tolist()
    return [run for run, count in zip(runs.values(), votes, strict=True) if count]


def _complete_cell(run: Run, pretrained: Trained[UNet], dataset: MetaDataset, store: Store, process: Process) -> None:
    cell = cell_id(run, dataset.checksums)
    folder = f"{run_folder(pretraining_id(run, dataset.checksums))}/{cell}"
    checkpoints = Checkpoints(store, f"{folder}/refine", keep=1)

    def val_score(model: UNet) -> float:
        return miou_pooled(np.stack(_confusions(model, run, dataset, "val", process)))

    refined = refine(run, pretrained.model, dataset, checkpoints, val_score, process)
    begin = time.monotonic()
    confusions = np.stack(_confusions(refined.model, run, dataset, "test", process))
    if process.leads:
        panels = _put_panels(run, refined.model, dataset, store)
        seconds = {
            "pretrain": pretrained.seconds,
            "refine": refined.seconds,
            "evaluate": time.monotonic() - begin,
        }
        num_gpus = process.place.world_size if process.device.type == "cuda" else 0
        times = {"seconds": seconds, "gpu_seconds": sum(seconds.values()) * num_gpus}
        results = {**times, "panels": panels, **_scored(run, dataset, confusions)}
        record = _record(run, pretrained, refined, dataset, process) | results
        store.put(
            f"{folder}/model.safetensors", save({k: v.contiguous() for k, v in refined.model.state_dict().items()})
        )
        if store.put_if_absent(record_key(run.experiment, cell), json.dumps(record).encode()):
            logger.info("cell %s recorded: mIoU %.3f", cell, record["scores"]["miou_pooled"])
        checkpoints.clear()


def _confusions(model: UNet, run: Run, dataset: MetaDataset, split: Split, process: Process) -> list[np.ndarray]:
    """The confusion matrix of each image of a split; every rank predicts its share and gets all."""
    samples = list(dataset.whole_images(run.new_task, split))
    place = process.place
    num_classes = dataset.sources[run.new_task].task.num_classes
    found = np.zeros((len(samples), num_classes, num_classes), np.int64)
    for number, (_, _, counts) in enumerate(
        score(model, run.new_task, samples[place.rank :: place.world_size], run.eval)
    ):
        found[place.rank + number * place.world_size] = counts
    return list(sum_over_ranks(torch.from_numpy(found).to(process.device)).cpu().numpy())


def _record(
    run: Run, pretrained: Trained[UNet], refined: Refined, dataset: MetaDataset, process: Process
) -> dict[str, Any]:
    """What was run, on what, and how it went: all of a record but its scores."""
    task = dataset.sources[run.new_task].task
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
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "task": {"name": task.name, "title": task.title, "classes": list(task.classes)},
        "best_epoch": refined.best_epoch,
        "pretrain_curve": pretrained.curve,
        "refine_curve": refined.curve,
    }


def _scored(run: Run, dataset: MetaDataset, confusions: np.ndarray) -> dict[str, Any]:
    """The scores of a record, and what they can be computed from again."""
    index = dataset.sources[run.new_task]
    patients = dict(zip(index.samples.image, index.samples.patient, strict=True))
    keys = dict.fromkeys(index.samples.image[row] for row in index.rows("test").tolist())
    majority = int(index.class_pixels("train").argmax())
    return {
        "majority_class": majority,
        "test_images": [
            {"key": key, "patient": patients[key], "confusion": counts.tolist()}
            for key, counts in zip(keys, confusions, strict=True)
        ],
        "scores": scores(confusions, majority, run),
    }


def scores(confusions: np.ndarray, majority_class: int, run: Run) -> dict[str, Any]:
    """All that is reported of a stack of confusion matrices, (N, C, C); what is undefined becomes None."""
    low, high = bootstrap_interval(confusions, run.eval.bootstrap, stream(run.seed))
    found = {
        "miou_pooled": miou_pooled(confusions),
        "miou_reference": miou_reference(confusions),
        "miou_present": miou_present(confusions),
        "interval": [low, high],
        "per_class": iou_per_class(confusions).tolist(),
        "majority_miou_pooled": majority_miou(confusions, majority_class),
    }
    return {name: _defined(value) for name, value in found.items()}


def _defined(value: Any) -> Any:
    if isinstance(value, list):
        return [_defined(item) for item in value]
    return None if np.isnan(value) else float(value)


def _put_panels(run: Run, model: UNet, dataset: MetaDataset, store: Store) -> list[dict[str, str]]:
    """Store the pictures of the first test images; return their keys."""
    folder = f"records/{run.experiment}/panels/{cell_id(run, dataset.checksums)}"
    first = islice(dataset.whole_images(run.new_task, "test"), PANELS)
    return [
        _put_panel(store, folder, sample, predicted)
        for sample, predicted, _ in score(model, run.new_task, first, run.eval)
    ]


def _put_panel(store: Store, folder: str, sample: Sample, predicted: SemanticMap) -> dict[str, str]:
    """Store the pictures of a test image, shrunk to at most PANEL_PX; return their keys."""
    height, width = sample.image.shape[:2]
    factor = min(1.0, PANEL_PX / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    pictures = {
        "image": cv2.resize(cv2.cvtColor(sample.image, cv2.COLOR_RGB2BGR), size, interpolation=cv2.INTER_AREA),
        "truth": cv2.resize(sample.semantic_map, size, interpolation=cv2.INTER_NEAREST),
        "prediction": cv2.resize(predicted, size, interpolation=cv2.INTER_NEAREST),
    }
    keys = {name: f"{folder}/{sample.key}-{name}.png" for name in pictures}
    for name, picture in pictures.items():
        store.put(keys[name], _png(picture))
    return {"key": sample.key, **keys}


def _png(picture: Image | SemanticMap) -> bytes:
    encoded: np.ndarray = cv2.imencode(".png", picture)[1]
    return encoded.tobytes()
