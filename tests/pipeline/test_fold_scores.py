"""What a whole image of a fold is scored by, where some of its pixels are annotated by nobody."""

import numpy as np
import pytest

from histoseg.metrics.panoptic import PanopticCounts
from histoseg.models.cerberus.network import CerberusParts, build
from histoseg.models.prediction import Prediction
from histoseg.pipeline import fold_scores
from histoseg.types import IGNORE, Sample


@pytest.fixture
def sample():
    """One nucleus of class 1 and one of class 2, and between them pixels in both, as PanNuke's overlaps are stored."""
    instance_map, semantic_map = np.zeros((12, 30), np.int32), np.zeros((12, 30), np.uint8)
    for i, columns in enumerate((slice(2, 8), slice(20, 26)), start=1):
        instance_map[3:9, columns] = semantic_map[3:9, columns] = i
    semantic_map[3:9, 10:16] = IGNORE
    image = np.zeros((12, 30, 3), np.uint8)
    return Sample(key="k", patient="p", image=image, semantic_map=semantic_map, mpp=0.5, instance_map=instance_map)


def test_pixels_that_nobody_annotated_count_for_nobody(sample, tiny_fold_run, monkeypatch):
    """Network and Otsu both find the two nuclei and one where nothing is known: neither gains nor loses by that."""
    found = sample.instance_map.copy()
    found[sample.semantic_map == IGNORE] = 3
    seen = Prediction(
        instance_maps={"nuclei": found},
        classes={"nuclei": np.array([1, 2, 1], np.uint8)},
        class_probabilities={"nuclei": np.ones(3)},
        tissue=None,
        tissue_px=0,
    )
    monkeypatch.setattr(fold_scores, "predict", lambda *_: seen)
    monkeypatch.setattr(fold_scores, "otsu_objects", lambda *_: found.copy())
    network = build(CerberusParts(encoder="resnet18", width=4), 0)
    numbers = fold_scores._numbers(network, tiny_fold_run, sample, "nuclei", typed=True, num_types=3)
    counts = [fold_scores._counts(row) for row in numbers.reshape(-1, 4)]
    both, one = (PanopticCounts(tp=n, fp=0, fn=0, sum_iou=float(n)) for n in (2, 1))
    assert counts[0] == counts[2] == both
    assert counts[3:] == [one, one]
