"""Objects of whole images by panoptic quality and Dice, and classes of tissue by average precision.

Cerberus (Graham et al. 2023), Sec. 4.2. Scores are named "split.structure.score"; the first scored split is "test".
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from histoseg.maps.objects import is_known, vote_types
from histoseg.maps.windows import MarginWindows
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
from histoseg.models.otsu import otsu_objects
from histoseg.records.schema import Counts, Panel, ScoredImage
from histoseg.runs.config import Run, Select
from histoseg.scoring._images import annotated, images_with_objects, own_share
from histoseg.scoring._pictures import PANELS, Pictures, outlined
from histoseg.shards.reader import MetaDataset
from histoseg.structures import TISSUE
from histoseg.types import IGNORE, InstanceMap, Sample, SemanticMap, Split

if TYPE_CHECKING:
    from histoseg.models.network import Network
    from histoseg.scoring._protocol import Scores
    from histoseg.training.process import Process

TILES_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class Objects(MarginWindows):
    """Scores of objects and tissue; its fields are the windows by which whole images are predicted."""

    def validate(self, network: "Network", run: Run, dataset: MetaDataset, select: Select, process: "Process") -> float:
        """Mean over structures of the mean PQ over images."""
        counts = self._count(network, run, dataset, select, process)
        by_structure = _by_structure(counts)
        found = [pq_per_image_mean(_plain(image.objects) for image in images) for images in by_structure.values()]
        defined = [quality for quality in found if not np.isnan(quality)]
        return float(np.mean(defined)) if defined else float("nan")

    def score(
        self, network: "Network", run: Run, dataset: MetaDataset, process: "Process", pictures: Pictures
    ) -> "Scores":
        """PQ, DQ, SQ, Dice, mPQ and mPQ+ of each structure, beside Otsu's threshold; mAP and mF1 of tissue."""
        from histoseg.scoring._protocol import Scores

        images = self._count(network, run, dataset, run.score, process)
        names: dict[Split, str] = {split: split if i else "test" for i, split in enumerate(run.score.splits)}
        scores, sizes = summarise(images, names)
        per_class: dict[str, Mapping[str, float]] = {}
        for split, name in names.items():
            true, probabilities = self._tissue(network, run, dataset, split, process)
            if len(true):
                found = summarise_tissue(true, probabilities, _tissue_classes(dataset, run.score))
                scores |= {f"{name}.{TISSUE}.{key}": value for key, value in found[0].items()}
                per_class |= {f"{name}.{TISSUE}.{key}": value for key, value in found[1].items()}
                sizes[f"{name}.{TISSUE}.images"] = len(true)
        return Scores(
            scores=scores,
            headline=_headline(scores),
            per_class=per_class,
            sizes=sizes,
            images=tuple(images),
            panels=tuple(self._panels(network, run, dataset, pictures)) if process.leads else (),
        )

    def _count(
        self, network: "Network", run: Run, dataset: MetaDataset, select: Select, process: "Process"
    ) -> list[ScoredImage]:
        """Every image of some splits; each rank predicts its share, and all get all."""
        import torch

        from histoseg.distributed import sum_over_ranks

        images, typed = list(images_with_objects(dataset, select)), _typed(network, run, dataset)
        num_types = max([1, *map(len, typed.values())])
        numbers = np.zeros((len(images), 4 * (3 + num_types - 1)))
        for i in own_share(len(images), f"score {run.address}", process):
            _, source, rows = images[i]
            task, sample = dataset.sources[source].task, dataset.whole_image(source, rows)
            is_typed = typed.get(task.structure) == task.classes
            numbers[i] = self._numbers(network, run, sample, task.structure, (is_typed, num_types))
        shared = sum_over_ranks(torch.from_numpy(numbers).to(process.device)).cpu().numpy()
        found = []
        for (split, source, rows), row in zip(images, shared, strict=True):
            index = dataset.sources[source]
            is_typed = typed.get(index.task.structure) == index.task.classes
            parts = [_counts(part) for part in row.reshape(-1, 4)]
            found.append(
                ScoredImage(
                    split=split,
                    structure=index.task.structure,
                    source=source,
                    key=index.samples.image[rows[0]],
                    patient=index.samples.patient[rows[0]],
                    objects=parts[0],
                    confusion=tuple(map(tuple, row[4:8].astype(int).reshape(2, 2).tolist())),
                    otsu=parts[2],
                    by_class=tuple(parts[3:]) if is_typed else (),
                )
            )
        return found

    def _numbers(
        self, network: "Network", run: Run, sample: Sample, structure: str, types: tuple[bool, int]
    ) -> np.ndarray:
        """An image's scores as numbers that add over ranks: four each of counts, pixels, Otsu's counts, and classes.

        `types` says whether classes of objects are scored, and for how many there is room.
        """
        from histoseg.models.spec import network_of

        is_typed, num_types = types
        true = annotated(sample)
        found = network_of(run).predict(network, sample.image, self, heads=[structure], mpp=run.data.mpp)
        # What was not annotated can be neither right nor wrong, and belongs to no object of the truth.
        known = is_known(sample.semantic_map, true)
        predicted = found.instance_maps[structure] * known
        pixels = confusion((true > 0).astype(np.uint8), (predicted > 0).astype(np.uint8), 2)
        rows = [_row(count_panoptic(true, predicted)), pixels.ravel().astype(float)]
        rows.append(_row(count_panoptic(true, otsu_objects(sample.image, structure, run.data.mpp) * known)))
        by_class: tuple[PanopticCounts, ...] = (PanopticCounts(),) * (num_types - 1)
        if is_typed:
            by_class = count_types(true, sample.semantic_map, predicted, found.classes[structure], num_types)
        return np.concatenate([*rows, *map(_row, by_class)])

    def _tissue(
        self, network: "Network", run: Run, dataset: MetaDataset, split: Split, process: "Process"
    ) -> tuple[np.ndarray, np.ndarray]:
        """True classes and probabilities of the tiles of a split, each seen by the square in its middle."""
        import torch

        from histoseg.distributed import sum_over_ranks
        from histoseg.models.spec import classifier_of

        sources = [name for name in run.score.sources if dataset.sources[name].task.structure == TISSUE]
        tiles = [(name, row) for name in sources for row in dataset.sources[name].rows(split).tolist()]
        true = np.array([dataset.patch_class(*tile) for tile in tiles], np.int64)
        found = np.zeros((len(tiles), len(_tissue_classes(dataset, run.score))))
        own = list(range(process.place.rank, len(tiles), process.place.world_size))
        for start in range(0, len(own), TILES_AT_ONCE):
            chosen = own[start : start + TILES_AT_ONCE]
            batch = np.stack([_middle(dataset.read(*tiles[i])[0], run.data.tissue_px) for i in chosen])
            found[chosen] = classifier_of(run).classify(network, batch)
        return true, sum_over_ranks(torch.from_numpy(found).to(process.device)).cpu().numpy()

    def _panels(self, network: "Network", run: Run, dataset: MetaDataset, pictures: Pictures) -> Iterator[Panel]:
        """The first images of each structure, with outlines of what is annotated and what was predicted."""
        from histoseg.models.spec import network_of

        shown: Counter[str] = Counter()
        spec = network_of(run)
        for _, source, rows in images_with_objects(
            dataset, Select(sources=run.score.sources, splits=run.score.splits[:1])
        ):
            structure = dataset.sources[source].task.structure
            if shown[structure] == PANELS:
                continue
            shown[structure] += 1
            sample = dataset.whole_image(source, rows)
            predicted = spec.predict(network, sample.image, self, heads=[structure], mpp=run.data.mpp)
            found = predicted.instance_maps[structure]
            truth = annotated(sample)
            score = count_panoptic(truth, found * is_known(sample.semantic_map, truth)).pq
            drawn = {"truth": outlined(sample.image, truth), "prediction": outlined(sample.image, found)}
            keys = pictures.put(sample.key, {"image": sample.image, **drawn})
            yield Panel(
                source=source,
                key=sample.key,
                structure=structure,
                score=score,
                image=keys["image"],
                truth=keys["truth"],
                prediction=keys["prediction"],
            )


def _typed(network: "Network", run: Run, dataset: MetaDataset) -> dict[str, tuple[str, ...]]:
    from histoseg.models.spec import network_of

    return typed_classes(run, dataset, network_of(run).heads(network).num_classes)


def typed_classes(run: Run, dataset: MetaDataset, heads: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The classes of objects that a run teaches, by structure, as far as the network has heads for them.

    They are those of its stages after the first, or of its only stage; those of other sources do not count.
    """
    stages = run.stages[1:] or run.stages
    tasks = [dataset.sources[name].task for stage in stages for name in stage.select.sources]
    return {task.structure: task.classes for task in tasks if f"{task.structure}_type" in heads}


def _tissue_classes(dataset: MetaDataset, select: Select) -> tuple[str, ...]:
    tasks = [dataset.sources[name].task for name in select.sources]
    return next((task.classes for task in tasks if task.structure == TISSUE), ())


def count_types(
    true: InstanceMap,
    type_map: SemanticMap,
    predicted: InstanceMap,
    classes: UInt8[np.ndarray, " P"],
    num_types: int,
) -> tuple[PanopticCounts, ...]:
    """The counts of each class from 1 on; object i + 1 of the prediction has the i-th of the classes.

    Pixels whose type is IGNORE belong to no object: true objects without a class count as objects alone.
    """
    has_class = type_map != IGNORE
    true, predicted = true * has_class, predicted * has_class
    true_types = vote_types(true, type_map * has_class, num_types)[0]
    left = np.unique(predicted[predicted > 0]) - 1
    return count_panoptic_by_class(true, true_types, predicted, classes[left], num_types)


def _row(counts: PanopticCounts) -> np.ndarray:
    return np.array([counts.tp, counts.fp, counts.fn, counts.sum_iou], np.float64)


def _counts(row: np.ndarray) -> Counts:
    return Counts(tp=int(row[0]), fp=int(row[1]), fn=int(row[2]), sum_iou=float(row[3]))


def _plain(counts: Counts | None) -> PanopticCounts:
    return PanopticCounts() if counts is None else PanopticCounts(**counts.model_dump())


def _middle(image: np.ndarray, side_px: int) -> np.ndarray:
    top, left = ((side - side_px) // 2 for side in image.shape[:2])
    return image[top : top + side_px, left : left + side_px]


def _by_structure(images: Sequence[ScoredImage]) -> dict[str, list[ScoredImage]]:
    found: dict[str, list[ScoredImage]] = {}
    for image in images:
        found.setdefault(image.structure, []).append(image)
    return found


def summarise(images: Sequence[ScoredImage], names: Mapping[Split, str]) -> tuple[dict[str, float], dict[str, int]]:
    """Scores and sizes of all images, as "split.structure.score"; `names` gives the printed name of each split."""
    scores: dict[str, float] = {}
    sizes: dict[str, int] = {}
    for split, name in names.items():
        for structure, found in _by_structure([image for image in images if image.split == split]).items():
            scores |= {f"{name}.{structure}.{key}": value for key, value in _summary(found).items()}
            sizes[f"{name}.{structure}.images"] = len(found)
            counts = [_plain(image.objects) for image in found]
            sizes[f"{name}.{structure}.objects"] = sum(one.tp + one.fn for one in counts)
    return scores, sizes


def _summary(images: Sequence[ScoredImage]) -> dict[str, float]:
    """The scores of a structure's images: the mean of PQ over images, and pooled counts under other names."""
    total = sum((_plain(image.objects) for image in images), PanopticCounts())
    confusions = np.array([image.confusion for image in images], np.int64)
    typed = [tuple(map(_plain, image.by_class)) for image in images if image.by_class]
    return {
        "pq": pq_per_image_mean(_plain(image.objects) for image in images),
        "dice": dice_per_image_mean(confusions),
        "pq_pooled": total.pq,
        "dq_pooled": total.dq,
        "sq_pooled": total.sq,
        "dice_pooled": dice_pooled(confusions),
        "otsu_pq": pq_per_image_mean(_plain(image.otsu) for image in images),
        **({"mpq": mpq(typed), "mpq_plus": mpq_plus(typed)} if typed else {}),
    }


def summarise_tissue(
    true: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]
) -> tuple[dict[str, float], dict[str, Mapping[str, float]]]:
    """Mean AP and F1 of tiles, and both of each class, from true classes (N,) and probabilities (N, K)."""
    scores = {"map": mean_average_precision(true, probabilities), "mf1": mean_f1(true, probabilities)}
    by_class = {"ap": average_precision_per_class(true, probabilities), "f1": f1_per_class(true, probabilities)}
    named = {key: dict(zip(classes, values.tolist(), strict=True)) for key, values in by_class.items()}
    return scores, dict(named)


def _headline(scores: Mapping[str, float]) -> str:
    """The first score of each structure on the test split."""
    places = {tuple(name.split(".")): value for name, value in scores.items()}
    shown = [(place[1], value) for place, value in places.items() if place[0] == "test" and place[2] in ("pq", "map")]
    return ", ".join(f"{structure} {value:.3f}" for structure, value in shown)


EVALUATOR = Objects
