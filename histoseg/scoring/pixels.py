"""Semantic classes of whole images: IoU over the pixels of all images, per image, and its interval.

MetaHistoSeg (Yuan, Esteva & Xu 2022), Eq. 1.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from histoseg.maps.windows import OverlapWindows
from histoseg.metrics.iou import (
    bootstrap_interval,
    confusion,
    iou_per_class,
    majority_miou,
    miou_pooled,
    miou_present,
    miou_reference,
)
from histoseg.records.schema import Panel, ScoredImage
from histoseg.runs.config import Run, Select, require
from histoseg.scoring._pictures import PANELS, Pictures, legend_of, paint
from histoseg.seeds import stream
from histoseg.shards.reader import MetaDataset
from histoseg.types import Sample, SemanticMap, Split

if TYPE_CHECKING:
    from histoseg.models.network import Network
    from histoseg.scoring._protocol import Scores
    from histoseg.training.process import Process


@dataclass(frozen=True, kw_only=True)
class Pixels(OverlapWindows):
    """Scores of pixels; its other fields are the windows by which whole images are predicted."""

    bootstrap: int = 1000  # How many resamples of the images the 95 % interval is made of; 0 means none

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.bootstrap >= 0, "evaluator.bootstrap", self.bootstrap, "0 (no interval) or more")

    def validate(self, network: "Network", run: Run, dataset: MetaDataset, select: Select, process: "Process") -> float:
        """Pooled mIoU."""
        return miou_pooled(self._confusions(network, run, dataset, select, process))

    def score(
        self, network: "Network", run: Run, dataset: MetaDataset, process: "Process", pictures: Pictures
    ) -> "Scores":
        """Pooled, per-image and present mIoU, the interval, and those of the most frequent class."""
        from histoseg.scoring._protocol import Scores

        source, _ = _only(run.score)
        index = dataset.sources[source]
        confusions = self._confusions(network, run, dataset, run.score, process)
        scores = summarise(confusions, int(index.class_pixels("train").argmax()), self.bootstrap, run.seed)
        classes = dict(zip(index.task.classes, iou_per_class(confusions).tolist(), strict=True))
        return Scores(
            scores=scores,
            headline=f"mIoU {scores['miou_pooled']:.3f}; the most frequent class {scores['majority_miou_pooled']:.3f}",
            per_class={"iou": classes},
            sizes={"images": len(confusions), "pixels": int(confusions.sum())},
            images=tuple(_scored_images(dataset, run.score, confusions)),
            panels=tuple(self._panels(network, run, dataset, pictures)) if process.leads else (),
        )

    def _confusions(
        self, network: "Network", run: Run, dataset: MetaDataset, select: Select, process: "Process"
    ) -> np.ndarray:
        """The confusion matrix of each image, int64 (N, C, C); every rank predicts its share and gets all."""
        import torch

        from histoseg.distributed import sum_over_ranks

        (source, split), place = _only(select), process.place
        images = list(dataset.images(source, split).values())
        # One at a time: together they may be more than the memory holds.
        own = (dataset.whole_image(source, rows) for rows in images[place.rank :: place.world_size])
        num_classes = dataset.sources[source].task.num_classes
        found = np.zeros((len(images), num_classes, num_classes), np.int64)
        for number, (_, _, counts) in enumerate(self._predicted(network, run, source, own)):
            found[place.rank + number * place.world_size] = counts
        total: np.ndarray = sum_over_ranks(torch.from_numpy(found).to(process.device)).cpu().numpy()
        return total

    def _predicted(
        self, network: "Network", run: Run, source: str, samples: Iterable[Sample]
    ) -> Iterator[tuple[Sample, SemanticMap, np.ndarray]]:
        """Each image with its predicted map and its confusion matrix, int64 (C, C), rows true."""
        from histoseg.models.spec import network_of

        spec = network_of(run)
        num_classes = spec.heads(network).num_classes[source]
        for sample in samples:
            predicted = spec.predict(network, sample.image, self, heads=[source]).semantic_maps[source]
            yield sample, predicted, confusion(sample.semantic_map, predicted, num_classes)

    def _panels(self, network: "Network", run: Run, dataset: MetaDataset, pictures: Pictures) -> Iterator[Panel]:
        source, split = _only(run.score)
        first = islice(dataset.whole_images(source, split), PANELS)
        for sample, predicted, counts in self._predicted(network, run, source, first):
            shown = {"image": sample.image, "truth": paint(sample.semantic_map), "prediction": paint(predicted)}
            keys = pictures.put(sample.key, shown)
            yield Panel(
                source=source,
                key=sample.key,
                score=miou_present(counts[None]),
                legend=legend_of(dataset.sources[source].task.classes, sample.semantic_map),
                image=keys["image"],
                truth=keys["truth"],
                prediction=keys["prediction"],
            )


def _only(select: Select) -> tuple[str, Split]:
    """The one source and the one split that are scored."""
    require(len(select.sources) == len(select.splits) == 1, "score", select, "one source and one split")
    (source,), (split,) = select.sources, select.splits
    return source, split


def _scored_images(dataset: MetaDataset, select: Select, confusions: np.ndarray) -> list[ScoredImage]:
    source, split = _only(select)
    samples = dataset.sources[source].samples
    return [
        ScoredImage(
            split=split,
            source=source,
            key=key,
            patient=samples.patient[rows[0]],
            confusion=tuple(map(tuple, counts.tolist())),
        )
        for (key, rows), counts in zip(dataset.images(source, split).items(), confusions, strict=True)
    ]


def summarise(confusions: np.ndarray, majority_class: int, bootstrap: int, seed: int) -> Mapping[str, float]:
    """The scores of a stack of confusion matrices, (N, C, C), rows true; nan where undefined."""
    low, high = bootstrap_interval(confusions, bootstrap, stream(seed))
    return {
        "miou_pooled": miou_pooled(confusions),
        "miou_reference": miou_reference(confusions),
        "miou_present": miou_present(confusions),
        "interval_low": low,
        "interval_high": high,
        "majority_miou_pooled": majority_miou(confusions, majority_class),
    }


EVALUATOR = Pixels
