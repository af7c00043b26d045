"""From a run to its result record: pretrain, refine on the new task, score whole test images, write once.

A record is immutable: it is put only if there is none, under the hash of its run and data. Whatever dies, and
whoever repeats it, each cell of a table is recorded once, and tables are built from records alone.
"""

import logging
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from histoseg.distributed import sum_over_ranks
from histoseg.inference.semantic import score
from histoseg.maps.windows import OverlapWindows
from histoseg.metrics.iou import (
    bootstrap_interval,
    iou_per_class,
    majority_miou,
    miou_pooled,
    miou_present,
    miou_reference,
)
from histoseg.models.unet.network import UNet
from histoseg.records.write import (
    PANELS,
    complete_group,
    defined,
    describe_training,
    folder_of,
    header,
    put_pictures,
    put_record,
)
from histoseg.runs.config import Run
from histoseg.runs.names import cell_id
from histoseg.seeds import stream
from histoseg.shards.reader import MetaDataset
from histoseg.store.objects import Store
from histoseg.training.checkpoint import Checkpoints
from histoseg.training.loop import Trained, pretrain
from histoseg.training.process import Process
from histoseg.training.refine import Refined, refine
from histoseg.types import Split

logger = logging.getLogger(__name__)


def complete(runs: Sequence[Run], store: Store, cache: Path, process: Process) -> list[str]:
    """Record every run of a group that shares one pretraining; see `complete_group`."""
    return complete_group(runs, store, cache, process, pretrain_group, _complete_cell)


def pretrain_group(run: Run, dataset: MetaDataset, store: Store, process: Process) -> Trained[UNet]:
    """The model that a run and all that differ from it only in what follows start from."""
    if process.leads:
        describe_training(run, dataset, store)
    predecessors = MetaDataset(sources={name: dataset.sources[name] for name in run.predecessors}, cache=dataset.cache)
    return pretrain(run, predecessors, Checkpoints(store, f"{folder_of(run, dataset)}/pretrain"), process)


def _complete_cell(run: Run, pretrained: Trained[UNet], dataset: MetaDataset, store: Store, process: Process) -> None:
    cell = cell_id(run, dataset.checksums)
    folder = f"{folder_of(run, dataset)}/{cell}"
    checkpoints = Checkpoints(store, f"{folder}/refine", keep=1)

    def val_score(model: UNet) -> float:
        return miou_pooled(np.stack(_confusions(model, run, dataset, "val", process)))

    refined = refine(run, pretrained.model, dataset, checkpoints, val_score, process)
    begin = time.monotonic()
    confusions = np.stack(_confusions(refined.model, run, dataset, "test", process))
    if process.leads:
        seconds = {"pretrain": pretrained.seconds, "refine": refined.seconds, "evaluate": time.monotonic() - begin}
        record = {
            **header(run, dataset, process, seconds),
            **_curves(run, pretrained, refined, dataset),
            **_scored(run, dataset, confusions),
            "panels": _put_panels(run, refined.model, dataset, store),
        }
        store.put(
            f"{folder}/model.safetensors", save({k: v.contiguous() for k, v in refined.model.state_dict().items()})
        )
        put_record(record, run.experiment, store, f"mIoU {record['scores']['miou_pooled']:.3f}")
        checkpoints.clear()


def _confusions(model: UNet, run: Run, dataset: MetaDataset, split: Split, process: Process) -> list[np.ndarray]:
    """The confusion matrix of each image of a split; every rank predicts its share and gets all."""
    images, place = list(dataset.images(run.new_task, split).values()), process.place
    # One at a time: together they may be more than the memory holds.
    own = (dataset.whole_image(run.new_task, rows) for rows in images[place.rank :: place.world_size])
    num_classes = dataset.sources[run.new_task].task.num_classes
    found = np.zeros((len(images), num_classes, num_classes), np.int64)
    for number, (_, _, counts) in enumerate(score(model, run.new_task, own, _windows(run))):
        found[place.rank + number * place.world_size] = counts
    return list(sum_over_ranks(torch.from_numpy(found).to(process.device)).cpu().numpy())


def _windows(run: Run) -> OverlapWindows:
    return OverlapWindows(window_px=run.eval.window_px, overlap=run.eval.overlap)


def _curves(run: Run, pretrained: Trained[UNet], refined: Refined, dataset: MetaDataset) -> dict[str, Any]:
    """What the task is and how training went."""
    task = dataset.sources[run.new_task].task
    return {
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
    return {name: defined(value) for name, value in found.items()}


def _put_panels(run: Run, model: UNet, dataset: MetaDataset, store: Store) -> list[dict[str, str]]:
    """Store the pictures of the first test images; return their keys."""
    folder = f"records/{run.experiment}/panels/{cell_id(run, dataset.checksums)}"
    first = islice(dataset.whole_images(run.new_task, "test"), PANELS)
    return [
        put_pictures(
            store,
            folder,
            sample.key,
            {"image": sample.image, "truth": sample.semantic_map, "prediction": predicted},
        )
        for sample, predicted, _ in score(model, run.new_task, first, _windows(run))
    ]
