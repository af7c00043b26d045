"""Whole images of a fold against their truth: objects by panoptic quality and Dice, tissue by average precision."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from histoseg.distributed import sum_over_ranks
from histoseg.errors import DataError
from histoseg.maps.objects import vote_types
from histoseg.maps.windows import MarginWindows
from histoseg.methods.subtyping import typed_sources
from histoseg.metrics.classification import average_precision_per_class, f1_per_class, mean_average_precision, mean_f1
from histoseg.metrics.dice import dice_per_image_mean, dice_pooled
from histoseg.metrics.iou import confusion
from histoseg.metrics.panoptic import (
    PanopticCounts,
    count_panoptic,
    count_panoptic_by_class,
    mpq,
    mpq_plus,
    pq_per_image_mean,
)
from histoseg.models.cerberus.network import Cerberus
from histoseg.models.cerberus.predict import predict
from histoseg.models.otsu import otsu_objects
from histoseg.runs.config import FoldRun
from histoseg.shards.reader import MetaDataset
from histoseg.structures import TISSUE
from histoseg.training.process import Process
from histoseg.types import IGNORE, Sample, Split

logger = logging.getLogger(__name__)

TILES_AT_ONCE = 32
Counts = tuple[PanopticCounts, ...]


def training_part(run: FoldRun, dataset: MetaDataset) -> MetaDataset:
    """What a run may train on."""
    return replace(dataset, sources={name: dataset.sources[name] for name in run.sources}, training=run.train)


def windows_of(run: FoldRun) -> MarginWindows:
    """How the run divides whole images."""
    return MarginWindows(window_px=run.windows.window_px, margin_px=run.windows.margin_px)


@dataclass(frozen=True, kw_only=True)
class ScoredImage:
    """One whole image of objects against its truth.

    Attributes:
        counts: All objects, classes apart.
        confusion: Pixels, rows true and columns predicted: background, object.
        otsu: The counts of Otsu's threshold instead of the network.
        by_class: The counts of each class from 1 on; empty where none are told.
    """

    split: Split
    structure: str
    source: str
    key: str
    patient: str
    counts: PanopticCounts
    confusion: tuple[tuple[int, int], tuple[int, int]]
    otsu: PanopticCounts
    by_class: Counts


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What a split's images gave.

    Attributes:
        tissue: The true class of each tile, int64 (N,), and the predicted probabilities, float64 (N, K).
    """

    images: tuple[ScoredImage, ...]
    tissue: tuple[np.ndarray, np.ndarray]


def score_split(network: Cerberus, run: FoldRun, dataset: MetaDataset, split: Split, process: Process) -> Scored:
    """Every image of a split; each rank predicts its share, and all get all."""
    objects, tiles = [], []
    for source in run.sources:
        task = dataset.sources[source].task
        if task.structure == TISSUE:
            tiles += [(source, row) for row in dataset.sources[source].rows(split).tolist()]
        elif task.structure:
            objects += [(source, rows) for rows in dataset.images(source, split).values()]
    images = _score_objects(network, run, dataset, split, objects, process)
    return Scored(images=tuple(images), tissue=_score_tissue(network, run, dataset, tiles, process))


def _score_objects(
    network: Cerberus,
    run: FoldRun,
    dataset: MetaDataset,
    split: Split,
    images: Sequence[tuple[str, Sequence[int]]],
    process: Process,
) -> Iterator[ScoredImage]:
    typed = typed_sources(training_part(run, dataset)) if run.subtyping else ()
    num_types = dataset.sources[typed[0]].task.num_classes if typed else 1
    numbers = np.zeros((len(images), 4 * (3 + num_types - 1)))
    for i in _own_share(len(images), f"score {run.label} on {split}", process):
        source, rows = images[i]
        sample = dataset.whole_image(source, rows)
        numbers[i] = _numbers(network, run, sample, dataset.sources[source].task.structure, source in typed, num_types)
    sum_over_ranks(shared := torch.from_numpy(numbers).to(process.device))
    for (source, rows), row in zip(images, shared.cpu().numpy(), strict=True):
        parts = [_counts(part) for part in row.reshape(-1, 4)]
        index = dataset.sources[source]
        pixels = row[4:8].astype(int).tolist()
        yield ScoredImage(
            split=split,
            structure=index.task.structure,
            source=source,
            key=index.samples.image[rows[0]],
            patient=index.samples.patient[rows[0]],
            counts=parts[0],
            confusion=((pixels[0], pixels[1]), (pixels[2], pixels[3])),
            otsu=parts[2],
            by_class=tuple(parts[3:]) if source in typed else (),
        )


def _own_share(count: int, label: str, process: Process) -> Iterator[int]:
    """This rank's part of as many images, with a line now and then that says how far it is."""
    begin = said = time.monotonic()
    for i in range(process.place.rank, count, process.place.world_size):
        yield i
        now = time.monotonic()
        if process.leads and (now - said >= 10 or i + process.place.world_size >= count):
            said = now
            logger.info("%s  image %d/%d  eta %.0f s", label, i + 1, count, (now - begin) / (i + 1) * (count - i - 1))


def _numbers(
    network: Cerberus, run: FoldRun, sample: Sample, structure: str, typed: bool, num_types: int
) -> np.ndarray:
    """An image's scores as numbers that can be added over ranks: four each of counts, pixels, Otsu's, and classes."""
    if sample.instance_map is None:
        raise DataError(f"{sample.key} has no instance map; prepare its source again")
    found = predict(network, sample.image, windows_of(run), [structure], run.data.mpp)
    # What nobody annotated can be neither right nor wrong, and belongs to no object of the truth.
    is_known, true = sample.semantic_map != IGNORE, sample.instance_map
    predicted = found.instance_maps[structure] * is_known
    pixels = confusion((true > 0).astype(np.uint8), (predicted > 0).astype(np.uint8), 2)
    rows = [_row(count_panoptic(true, predicted)), pixels.ravel().astype(float)]
    rows.append(_row(count_panoptic(true, otsu_objects(sample.image, structure, run.data.mpp) * is_known)))
    by_class: Counts = (PanopticCounts(),) * (num_types - 1)
    if typed:
        true_types = vote_types(true, sample.semantic_map * is_known, num_types)[0]
        left = np.unique(predicted[predicted > 0]) - 1
        by_class = count_panoptic_by_class(true, true_types, predicted, found.classes[structure][left], num_types)
    return np.concatenate([*rows, *map(_row, by_class)])


def _row(counts: PanopticCounts) -> np.ndarray:
    return np.array([counts.tp, counts.fp, counts.fn, counts.sum_iou], np.float64)


def _counts(row: np.ndarray) -> PanopticCounts:
    return PanopticCounts(tp=int(row[0]), fp=int(row[1]), fn=int(row[2]), sum_iou=float(row[3]))


@torch.no_grad()
def _score_tissue(
    network: Cerberus, run: FoldRun, dataset: MetaDataset, tiles: Sequence[tuple[str, int]], process: Process
) -> tuple[np.ndarray, np.ndarray]:
    """True classes and probabilities of tiles, each seen by the square in its middle."""
    true = np.array([dataset.patch_class(*tile) for tile in tiles], np.int64)
    found = np.zeros((len(tiles), max(1, network.parts.tissue)))
    own = list(range(process.place.rank, len(tiles), process.place.world_size))
    for start in range(0, len(own), TILES_AT_ONCE):
        chosen = own[start : start + TILES_AT_ONCE]
        batch = np.stack([_middle(dataset.read(*tiles[i])[0], run.data.tissue_px) for i in chosen])
        logits = network.classify(network.encode(torch.from_numpy(batch).to(process.device)))
        found[chosen] = logits.double().softmax(dim=1)[:, :, 0, 0].cpu().numpy()
    return true, sum_over_ranks(torch.from_numpy(found).to(process.device)).cpu().numpy()


def _middle(image: np.ndarray, side_px: int) -> np.ndarray:
    top, left = ((side - side_px) // 2 for side in image.shape[:2])
    return image[top : top + side_px, left : left + side_px]


def summarise(scored: Scored) -> dict[str, dict[str, Any]]:
    """All that is reported, by structure."""
    by_structure: dict[str, list[ScoredImage]] = {}
    for image in scored.images:
        by_structure.setdefault(image.structure, []).append(image)
    summaries = {structure: _summary(images) for structure, images in by_structure.items()}
    true, probabilities = scored.tissue
    if len(true):
        summaries[TISSUE] = {
            "map": mean_average_precision(true, probabilities),
            "mf1": mean_f1(true, probabilities),
            "ap_per_class": average_precision_per_class(true, probabilities).tolist(),
            "f1_per_class": f1_per_class(true, probabilities).tolist(),
            "num_images": len(true),
        }
    return summaries


def _summary(images: Sequence[ScoredImage]) -> dict[str, Any]:
    """The scores of a structure's images: PQ as mean over images and pooled, each said by its name."""
    total = sum((image.counts for image in images), PanopticCounts())
    confusions = np.array([image.confusion for image in images], np.int64)
    typed = [image.by_class for image in images if image.by_class]
    return {
        "pq": pq_per_image_mean(image.counts for image in images),
        "dice": dice_per_image_mean(confusions),
        "pq_pooled": total.pq,
        "dq_pooled": total.dq,
        "sq_pooled": total.sq,
        "dice_pooled": dice_pooled(confusions),
        "otsu_pq": pq_per_image_mean(image.otsu for image in images),
        "num_images": len(images),
        "num_objects": total.tp + total.fn,
        **({"mpq": mpq(typed), "mpq_plus": mpq_plus(typed)} if typed else {}),
    }
