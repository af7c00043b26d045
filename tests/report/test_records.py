import json
import math

import numpy as np
import pytest

from histoseg.errors import DataError
from tests.report.records import make_record


@pytest.fixture
def from_json():
    from histoseg.report.records import from_json

    return from_json


def test_a_record_is_read_as_it_was_written(from_json):
    raw = json.loads(json.dumps(make_record("breastpathq", "all_others", "transfer", seed=3, with_panels=True)))
    record = from_json(raw, "records/a.json")
    assert record.address == ("breastpathq", "all_others", "transfer")
    assert (record.header.cell, record.header.pretraining, record.header.seed) == (raw["cell"], raw["pretraining"], 3)
    assert record.scores.interval == tuple(raw["scores"]["interval"])
    assert record.refine_curve[2] == (2, raw["refine_curve"][2]["val_miou"])
    assert record.panels[0].image == raw["panels"][0]["image"]
    assert record.test_images[1].confusion.dtype == np.int64
    np.testing.assert_array_equal(record.test_images[1].confusion, raw["test_images"][1]["confusion"])
    assert record.num_test_pixels == sum(np.sum(image["confusion"]) for image in raw["test_images"])
    assert record.header.run == raw["run"]


@pytest.mark.parametrize("undefined", [None, math.nan])
def test_an_undefined_score_is_nan(from_json, undefined):
    raw = make_record()
    raw["scores"]["interval"] = [undefined, undefined]
    raw["scores"]["per_class"] = [0.5, undefined]
    scores = from_json(raw, "here").scores
    assert np.isnan([*scores.interval, scores.per_class[1]]).all()


def set_field(raw, path, value):
    *parents, last = path
    for name in parents:
        raw = raw[name]
    raw[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["format"], 2, "field format is 2; expected a record of format 1"),
        (["cell"], 7, "field cell is 7; expected a text"),
        (["run", "seed"], True, "field run.seed is True; expected a whole number"),
        (["run", "seed"], -1, "field run.seed is -1; expected a whole number, 0 or more"),
        (["run", "method"], "maml", "field run.method is 'maml'; expected an object"),
        (["run", "predecessors"], "glas", "field run.predecessors is 'glas'; expected a list"),
        (["seconds"], {"refine": "long"}, "field seconds is .*; expected a number"),
        (["majority_class"], 2, "field majority_class is 2; expected a class, 0 to 1"),
        (["scores", "miou_pooled"], 1.5, r"field scores\.miou_pooled is 1\.5; expected a number within 0 and 1"),
        (["scores", "interval"], [0.1], r"field scores\.interval is \[0\.1\]; expected a list of 2"),
        (["scores", "per_class"], [0.1], r"field scores\.per_class .* expected a list of 2"),
        (["test_images", 1, "confusion"], [[1, 2]], r"field test_images\[1\]\.confusion .* expected a list of 2"),
        (["test_images", 1, "confusion"], [[1], [2]], "expected 2 rows of 2 counts"),
        (["test_images", 1, "confusion"], [[1, 2], [3, -4]], "expected a whole number, 0 or more"),
        (["test_images", 1, "confusion"], [[1, 2], [3, 0.5]], "expected a whole number"),
        (["refine_curve", 0, "epoch"], None, r"field refine_curve\[0\]\.epoch is None; expected a whole number"),
        (["panels"], [{"key": "k"}], r"field panels\[0\]\.image is missing"),
    ],
)
def test_a_bad_field_is_named_with_its_record(from_json, path, value, message):
    raw = make_record()
    set_field(raw, path, value)
    with pytest.raises(DataError, match=message) as refusal:
        from_json(raw, "records/a.json")
    assert str(refusal.value).startswith("records/a.json: ")


@pytest.mark.parametrize("field", ["format", "cell", "run", "scores", "panels"])
def test_a_missing_field_is_named(from_json, field):
    raw = make_record()
    del raw[field]
    with pytest.raises(DataError, match=f"field {field} is missing"):
        from_json(raw, "here")


def test_a_confusion_of_another_shape_or_dtype_is_refused():
    from jaxtyping import TypeCheckError

    from histoseg.report.records import ScoredImage

    for wrong in (np.zeros((2, 3), np.int64), np.zeros((2, 2), np.int32)):
        with pytest.raises(TypeCheckError):
            ScoredImage(key="k", patient="p", confusion=wrong)
