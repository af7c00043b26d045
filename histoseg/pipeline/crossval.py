"""From a run over folds to its result record: train a network, perhaps its subtyping, score its structures.

What is scored are whole images of the fold that was not trained on and, where a source has any, of its external test
set. No choice is made on them: the network is the one after the last step.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from histoseg.errors import DataError
from histoseg.maps.colours import CLASS_COLOURS, to_rgb
from histoseg.methods.subtyping import DECODER, typed_sources
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.cerberus.network import Cerberus, with_type_decoder
from histoseg.models.weights import Model, save_model, start_from
from histoseg.pipeline.fold_scores import score_split, summarise, training_part, windows_of
from histoseg.records.write import (
    PANEL_PX,
    PANELS,
    complete_group,
    defined,
    describe_training,
    folder_of,
    header,
    put_pictures,
    put_record,
)
from histoseg.runs.config import FoldRun
from histoseg.runs.names import cell_id, digest, model_folder, pretraining_id, to_json
from histoseg.seeds import number_of
from histoseg.shards.reader import MetaDataset
from histoseg.store.objects import Store
from histoseg.structures import TISSUE
from histoseg.training.checkpoint import Checkpoints
from histoseg.training.loop import Lesson, Trained, train
from histoseg.training.process import Process
from histoseg.types import EXTERNAL

logger = logging.getLogger(__name__)


def complete(runs: Sequence[FoldRun], store: Store, cache: Path, process: Process) -> list[str]:
    """Record every run of a group that shares one training; see `complete_group`."""
    return complete_group(runs, store, cache, process, train_network, _complete_cell)


def train_network(run: FoldRun, dataset: MetaDataset, store: Store, process: Process) -> Trained[Cerberus]:
    """The network that a run and all that differ from it only in what follows share."""
    if process.leads:
        describe_training(run, dataset, store)
    spec, tasks = spec_of(run), {name: dataset.sources[name].task for name in run.sources}
    network = spec.build(tasks, run.seed, run.data.tissue_px)
    start_from(network, spec.starting_weights(store), spec.weights)
    lesson = Lesson(label=f"train {run.label}", method=run.method, data=run.data, optim=run.optim, seed=run.seed)
    checkpoints = Checkpoints(store, f"{folder_of(run, dataset)}/pretrain")
    return train(network, lesson, training_part(run, dataset), checkpoints, process)


def spec_of(run: FoldRun) -> CerberusSpec:
    """The settings of the run's network."""
    old, contour = run.network, bool(getattr(run.method, "contour", False))
    return CerberusSpec(encoder=old.encoder, width=old.width, weights=old.weights, contour=contour)


def _complete_cell(
    run: FoldRun, trained: Trained[Cerberus], dataset: MetaDataset, store: Store, process: Process
) -> None:
    cell = cell_id(run, dataset.checksums)
    subtyped = _train_subtyping(run, trained.model, dataset, store, process) if run.subtyping else None
    network = (trained.model if subtyped is None else subtyped.model).eval()
    begin = time.monotonic()
    found = {split: score_split(network, run, dataset, split, process) for split in (run.test, EXTERNAL)}
    if not process.leads:
        return
    seconds = {"pretrain": trained.seconds, "subtyping": subtyped.seconds if subtyped else 0.0}
    folder = f"records/{run.experiment}/panels/{cell}"
    record = {
        **header(run, dataset, process, {**seconds, "evaluate": time.monotonic() - begin}),
        "curve": trained.curve,
        "subtyping_curve": subtyped.curve if subtyped else [],
        "classes": _classes(run, dataset),
        "scores": defined({"test" if split == run.test else split: summarise(part) for split, part in found.items()}),
        "images": [asdict(image) for part in found.values() for image in part.images],
        "panels": list(_put_panels(network, run, dataset, store, folder)),
    }
    origin = f"{run.experiment} {run.scale} {run.label}, cell {cell}"
    model = Model(spec=spec_of(run), network=network, classes=_classes(run, dataset), mpp=run.data.mpp, origin=origin)
    save_model(model, store, model_folder(pretraining_id(run, dataset.checksums), cell))
    scores = record["scores"]["test"]
    headline = ", ".join(f"{name} {part.get('pq', part.get('map')) or 0:.3f}" for name, part in scores.items())
    put_record(record, run.experiment, store, headline)


def _classes(run: FoldRun, dataset: MetaDataset) -> dict[str, tuple[str, ...]]:
    """What the network's classes are called."""
    tasks = [dataset.sources[name].task for name in run.sources]
    named = {str(task.structure): task.classes for task in tasks if task.structure == TISSUE}
    typed = typed_sources(training_part(run, dataset))
    return named | ({DECODER: dataset.sources[typed[0]].task.classes} if typed and run.subtyping else {})


def _train_subtyping(
    run: FoldRun, network: Cerberus, dataset: MetaDataset, store: Store, process: Process
) -> Trained[Cerberus]:
    """A copy of the network with a decoder for classes of nuclei, trained alone (Cerberus, Sec. 3.3.2)."""
    part = training_part(run, dataset)
    typed = typed_sources(part)
    if not typed or run.subtyping is None:
        raise DataError(f"none of {', '.join(run.sources)} tells classes of nuclei, which subtyping learns")
    num_types = dataset.sources[typed[0]].task.num_classes
    wider = with_type_decoder(network, "nuclei", num_types, number_of(f"{DECODER} {run.seed}"))
    how = [to_json(run)["subtyping"], to_json(run)["subtype_optim"]]
    checkpoints = Checkpoints(store, f"{folder_of(run, dataset)}/subtyping-{digest(how)}")
    label = f"subtyping {run.label}"
    lesson = Lesson(label=label, method=run.subtyping, data=run.data, optim=run.subtype_optim, seed=run.seed)
    return train(wider, lesson, part, checkpoints, process)


def _put_panels(
    network: Cerberus, run: FoldRun, dataset: MetaDataset, store: Store, folder: str
) -> Iterator[dict[str, str]]:
    """Store the pictures of each source's first images; yields their keys."""
    shown: dict[str, int] = {}
    for source in run.sources:
        structure = dataset.sources[source].task.structure
        if structure in ("", TISSUE):
            continue
        for rows in dataset.images(source, run.test).values():
            if shown.get(structure, 0) == PANELS:
                break
            shown[structure] = shown.get(structure, 0) + 1
            sample = dataset.whole_image(source, rows)
            predicted = spec_of(run).predict(
                network, sample.image, windows_of(run), heads=[structure], mpp=run.data.mpp
            )
            found = predicted.instance_maps[structure]
            truth = np.zeros_like(found) if sample.instance_map is None else sample.instance_map
            pictures = {"truth": outlined(sample.image, truth), "prediction": outlined(sample.image, found)}
            put = put_pictures(store, folder, sample.key, {"image": sample.image, **pictures})
            yield {**put, "structure": structure, "source": source}


def outlined(image: np.ndarray, instance_map: np.ndarray) -> np.ndarray:
    """The image with a line along the border of each object, inside it, as wide as it takes to be seen when shrunk."""
    ids = instance_map.astype(np.float32)  # OpenCV filters no int32; ids stay below 2^24, which float32 holds exactly.
    width = 1 + max(image.shape[:2]) // PANEL_PX
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    border = (cv2.dilate(ids, kernel) != cv2.erode(ids, kernel)) & (instance_map > 0)
    picture = image.copy()
    picture[border] = to_rgb(CLASS_COLOURS[3])
    return picture
