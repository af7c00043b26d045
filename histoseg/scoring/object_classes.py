"""Classes of annotated objects by average precision and F1: how well kinds are told apart, whatever is found itself.

Cerberus (Graham et al. 2023), Sec. 4.2, Tables 6, 7 and A1. Scores are named "split.structure.score"; the first scored
split is "test".
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, Int64

from histoseg.errors import DataError
from histoseg.loaders.object_patches import AnnotatedObjects, annotated_objects
from histoseg.maps.objects import typed_objects
from histoseg.maps.windows import MarginWindows
from histoseg.metrics.classification import average_precision_per_class, f1_of_labels, mean_defined
from histoseg.records.schema import Panel
from histoseg.runs.config import Run, Select, require
from histoseg.scoring._images import annotated, images_with_objects, own_share
from histoseg.scoring._pictures import PANELS, Pictures, legend_of_outlines, outlined_by_class
from histoseg.shards.reader import MetaDataset
from histoseg.store.objects import Store
from histoseg.structures import structures
from histoseg.types import Sample, Split

if TYPE_CHECKING:
    from histoseg.models.network import Network
    from histoseg.models.spec import FeatureClassifierSpec, ObjectClassifierSpec
    from histoseg.scoring._protocol import Scores
    from histoseg.training.process import Process


@dataclass(frozen=True)
class Classified:
    """True and predicted classes of objects, from 1 on, the probability of each class, and the number of the image."""

    image: Int64[np.ndarray, " N"]
    true: Int64[np.ndarray, " N"]
    predicted: Int64[np.ndarray, " N"]  # 0 for an object without a class
    probabilities: Float64[np.ndarray, "N K"]

    def of(self, images: Sequence[int]) -> "Classified":
        """The objects of some images."""
        chosen = np.isin(self.image, images)
        return Classified(*(values[chosen] for values in (self.image, self.true, self.predicted, self.probabilities)))


@dataclass(frozen=True, kw_only=True)
class ObjectClasses(MarginWindows):
    """Scores of the classes of one structure's annotated objects; other fields are the windows of whole images."""

    structure: str = "nuclei"

    def __post_init__(self) -> None:
        super().__post_init__()
        choices = [row.name for row in structures().values() if row.kind == "objects"]
        require(self.structure in choices, "evaluator.structure", self.structure, f"one of {', '.join(choices)}")

    def validate(self, network: "Network", run: Run, dataset: MetaDataset, select: Select, process: "Process") -> float:
        """Mean average precision over classes."""
        found = self._classify(network, run, dataset, select, process)
        return mean_defined(average_precision_per_class(found.true - 1, found.probabilities))

    def score(
        self, network: "Network", run: Run, dataset: MetaDataset, process: "Process", pictures: Pictures
    ) -> "Scores":
        """Mean AP and F1, those of the most frequent class, and both of each class."""
        from histoseg.scoring._protocol import Scores

        classes = self._classes(run, dataset)
        found = self._classify(network, run, dataset, run.score, process)
        images = self._images(run, dataset, run.score)
        scores: dict[str, float] = {}
        sizes: dict[str, int] = {}
        per_class: dict[str, Mapping[str, float]] = {}
        for number, split in enumerate(run.score.splits):
            family = f"{split if number else 'test'}.{self.structure}"
            part = found.of([i for i, image in enumerate(images) if image[0] == split])
            if not len(part.true):
                continue
            means, single = summarise(part, classes)
            scores |= {f"{family}.{name}": value for name, value in means.items()}
            per_class |= {f"{family}.{name}": values for name, values in single.items()}
            sizes[f"{family}.objects"] = len(part.true)
        return Scores(
            scores=scores,
            headline=_headline(scores, f"test.{self.structure}"),
            per_class=per_class,
            sizes=sizes,
            panels=tuple(self._panels(run, dataset, found, pictures)) if process.leads else (),
        )

    def _classify(
        self, network: "Network", run: Run, dataset: MetaDataset, select: Select, process: "Process"
    ) -> Classified:
        """The objects of all images."""
        from histoseg.models.spec import FeatureClassifierSpec, object_classifier_of

        classifier, images = object_classifier_of(run), self._images(run, dataset, select)
        if isinstance(classifier, FeatureClassifierSpec):
            share = partial(own_share, label=f"score {run.address}", process=process)
            sets = [
                annotated_objects(dataset, source, (rows for _, _, rows in group), share)
                for (_, source), group in groupby(images, key=itemgetter(0, 1))
            ]
            return self._by_features(classifier, network, sets, dataset.cache.store, process)
        return self._by_images(classifier, network, run, dataset, images, process)

    def _by_features(
        self,
        classifier: "FeatureClassifierSpec",
        network: "Network",
        sets: Sequence[AnnotatedObjects],
        store: Store,
        process: "Process",
    ) -> Classified:
        """By features, which are computed once for the images of a source and split, whichever runs they score."""
        features = classifier.features_about(network, [one.patches for one in sets], store, process.place)
        found = classifier.classify_features(network, features, self.structure)
        every = [classes for one in sets for classes in one.classes]
        return Classified(
            image=np.repeat(np.arange(len(every)), [len(classes) for classes in every]),
            true=np.concatenate([np.zeros(0, np.int64), *every]),
            predicted=found.classes.astype(np.int64),
            probabilities=found.probabilities.astype(np.float64),
        )

    def _by_images(
        self,
        classifier: "ObjectClassifierSpec",
        network: "Network",
        run: Run,
        dataset: MetaDataset,
        images: Sequence[tuple[Split, str, Sequence[int]]],
        process: "Process",
    ) -> Classified:
        """By whole images, of which each rank predicts its share."""
        import torch

        from histoseg.distributed import sum_over_ranks

        num_classes = len(self._classes(run, dataset)) - 1
        own = {
            i: self._rows(classifier, network, dataset.whole_image(*images[i][1:]), num_classes)
            for i in own_share(len(images), f"score {run.address}", process)
        }
        # Only the rank that reads an image knows how many objects it has.
        counts = torch.tensor([len(own.get(i, ())) for i in range(len(images))], dtype=torch.int64)
        counts = sum_over_ranks(counts.to(process.device)).cpu()
        image = np.repeat(np.arange(len(images)), counts.numpy())
        rows = np.zeros((len(image), 2 + num_classes))
        for i, part in own.items():
            rows[image == i] = part
        rows = sum_over_ranks(torch.from_numpy(rows).to(process.device)).cpu().numpy()
        return Classified(image, rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64), rows[:, 2:])

    def _rows(
        self, classifier: "ObjectClassifierSpec", network: "Network", sample: Sample, num_classes: int
    ) -> Float64[np.ndarray, "N L"]:
        """The true class, the predicted one and the probabilities of each object of an image."""
        instance_map, true = typed_objects(annotated(sample), sample.semantic_map, num_classes + 1)
        found = classifier.classify_objects(network, sample.image, instance_map, self.structure, self)
        return np.column_stack([true, found.classes, found.probabilities]).astype(np.float64)

    def _images(self, run: Run, dataset: MetaDataset, select: Select) -> list[tuple[Split, str, Sequence[int]]]:
        """The images whose objects have the classes that the run teaches."""
        classes, tasks = self._classes(run, dataset), {name: dataset.sources[name].task for name in select.sources}
        chosen = {name for name, task in tasks.items() if (task.structure, task.classes) == (self.structure, classes)}
        if not chosen:
            raise DataError(
                f"{', '.join(tasks)} have no {self.structure} of the classes that {run.address} learns, "
                f"{', '.join(classes[1:])}; score a source that has"
            )
        return [image for image in images_with_objects(dataset, select) if image[1] in chosen]

    def _classes(self, run: Run, dataset: MetaDataset) -> tuple[str, ...]:
        """The classes that the last stage with this structure teaches, background first."""
        tasks = [dataset.sources[name].task for stage in run.stages for name in stage.select.sources]
        own = [task.classes for task in tasks if task.structure == self.structure]
        if not own:
            raise DataError(f"no stage of {run.address} learns {self.structure}, whose classes are to be scored")
        return own[-1]

    def _panels(self, run: Run, dataset: MetaDataset, found: Classified, pictures: Pictures) -> Iterator[Panel]:
        """The images with most classes, their objects outlined in the colours of true and of predicted classes."""
        images, classes = self._images(run, dataset, run.score), self._classes(run, dataset)
        first = [i for i, image in enumerate(images) if image[0] == run.score.splits[0]]
        first.sort(key=lambda i: -len(np.unique(found.of([i]).true)))
        for i in first[:PANELS]:
            _, source, rows = images[i]
            sample = dataset.whole_image(source, rows)
            instance_map, true = typed_objects(annotated(sample), sample.semantic_map, len(classes))
            predicted = found.of([i]).predicted.astype(np.uint8)  # In the order of the map's ids, too
            drawn = {
                "truth": outlined_by_class(sample.image, instance_map, true),
                "prediction": outlined_by_class(sample.image, instance_map, predicted),
            }
            keys = pictures.put(sample.key, {"image": sample.image, **drawn})
            yield Panel(
                source=source,
                key=sample.key,
                structure=self.structure,
                score=float((true == predicted).mean()) if len(true) else float("nan"),
                legend=legend_of_outlines(classes, predicted.tolist()),
                image=keys["image"],
                truth=keys["truth"],
                prediction=keys["prediction"],
            )


def summarise(found: Classified, classes: Sequence[str]) -> tuple[dict[str, float], dict[str, Mapping[str, float]]]:
    """Means over classes, and AP and F1 of each; `classes` names them, background first.

    `majority_map` and `majority_mf1` are what a program scores that gives every object the class that most of these
    objects have, which no other constant answer surpasses.
    """
    num_types = len(classes)
    ap = average_precision_per_class(found.true - 1, found.probabilities)
    f1 = f1_of_labels(found.true, found.predicted, num_types)[1:]
    most = np.full_like(found.true, np.bincount(found.true).argmax())
    constant = average_precision_per_class(found.true - 1, np.ones(found.probabilities.shape))
    scores = {
        "map": mean_defined(ap),
        "mf1": mean_defined(f1),
        "majority_map": mean_defined(constant),
        "majority_mf1": mean_defined(f1_of_labels(found.true, most, num_types)[1:]),
    }
    return scores, {
        key: dict(zip(classes[1:], values.tolist(), strict=True)) for key, values in (("ap", ap), ("f1", f1))
    }


def _headline(scores: Mapping[str, float], family: str) -> str:
    if f"{family}.map" not in scores:
        return "no objects"
    mean_ap, mean_f1, majority = (scores[f"{family}.{name}"] for name in ("map", "mf1", "majority_mf1"))
    return f"{family}: mAP {mean_ap:.3f}, mF1 {mean_f1:.3f}; the most frequent class mF1 {majority:.3f}"


EVALUATOR = ObjectClasses
