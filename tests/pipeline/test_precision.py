"""A table's scores are those of the model that the run leaves, whatever precision it was trained in."""

from dataclasses import replace

import numpy as np
import pytest

from histoseg.inference.array import segment
from histoseg.metrics.iou import confusion
from histoseg.metrics.panoptic import count_panoptic
from histoseg.models.weights import load_model
from histoseg.pipeline.complete import complete, open_dataset
from histoseg.records.schema import Record
from histoseg.training.process import Process
from tests.pipeline.small_runs import folds_run, folds_store, leave_one_out_run, leave_one_out_store
from tests.stages import with_stage

PRECISIONS = ["fp32", "bf16"]


@pytest.fixture
def complete_run(tmp_path):
    """Completes a run; gives its record, the model as it is loaded, and the data."""

    def complete_run(run, store):
        (key,) = complete([run], store, tmp_path / "cache", Process())
        record = Record.model_validate_json(store.get(key))
        dataset = open_dataset([run], store, tmp_path / "cache")
        return record, load_model(store.path(record.model)), dataset

    return complete_run


def in_precision(run, precision):
    for number in range(len(run.stages)):
        run = with_stage(run, number, optim={"precision": precision})
    return run


@pytest.mark.parametrize("precision", PRECISIONS)
def test_objects_of_a_record_are_those_that_segment_finds(tmp_path, complete_run, precision):
    run = with_stage(in_precision(folds_run(), precision), optim={"steps": 40, "lr": 1e-2})
    record, model, dataset = complete_run(run, folds_store(tmp_path / "store"))
    assert record.precision == "fp32"
    assert sum(image.objects.tp + image.objects.fp for image in record.images) > 5
    for image in record.images:
        rows = dataset.images("cells", image.split)[image.key]
        sample = dataset.whole_image("cells", rows)
        found = segment(model, sample.image, mpp=0.5, windows=run.evaluator).instance_maps["nuclei"]
        counts = count_panoptic(sample.instance_map, found)
        assert (counts.tp, counts.fp, counts.fn) == (image.objects.tp, image.objects.fp, image.objects.fn)
        assert counts.sum_iou == image.objects.sum_iou
        pixels = confusion((sample.instance_map > 0).astype(np.uint8), (found > 0).astype(np.uint8), 2)
        np.testing.assert_array_equal(pixels, image.confusion)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_pixels_of_a_record_are_those_that_segment_finds(tmp_path, complete_run, precision):
    run = in_precision(leave_one_out_run(), precision)
    record, model, dataset = complete_run(run, leave_one_out_store(tmp_path / "store"))
    for image in record.images:
        sample = dataset.whole_image("new", dataset.images("new", "test")[image.key])
        found = segment(model, sample.image, windows=run.evaluator).semantic_maps["new"]
        np.testing.assert_array_equal(confusion(sample.semantic_map, found, 2), image.confusion)


def test_a_later_run_of_the_group_still_trains_in_its_own_precision(tmp_path):
    """Scoring one run sets the shared first network to float32; the refining of the next is in bfloat16 again."""
    store, run = leave_one_out_store(tmp_path / "store"), in_precision(leave_one_out_run(), "bf16")
    other = with_stage(replace(run, row="other"), 1, optim={"lr": 3e-3})
    keys = complete([run, other], store, tmp_path / "cache", Process())
    together = Record.model_validate_json(store.get(keys[1]))
    alone_store = leave_one_out_store(tmp_path / "alone")
    (key,) = complete([other], alone_store, tmp_path / "alone cache", Process())
    assert together.scores == Record.model_validate_json(alone_store.get(key)).scores
