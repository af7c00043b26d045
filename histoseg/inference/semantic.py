"""Classes of pixels in whole images, and how they compare with the truth."""

from collections.abc import Iterable, Iterator

import numpy as np

from histoseg.maps.windows import Windows
from histoseg.metrics.iou import confusion
from histoseg.models.unet.network import UNet
from histoseg.models.unet.predict import predict
from histoseg.types import Sample, SemanticMap


def score(
    model: UNet, task: str, samples: Iterable[Sample], windows: Windows
) -> Iterator[tuple[Sample, SemanticMap, np.ndarray]]:
    """Each image with its predicted map and its confusion matrix, int64 (C, C), rows true."""
    training = model.training
    model.eval()
    num_classes = model.num_classes(task)
    for sample in samples:
        predicted = predict(model, task, sample.image, windows)
        yield sample, predicted, confusion(sample.semantic_map, predicted, num_classes)
    model.train(training)
