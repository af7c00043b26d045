import json
import math

import pytest

from histoseg.errors import DataError
from tests.report.fold_records import make_fold_record
from tests.report.test_records import set_field


@pytest.fixture
def from_json():
    from histoseg.report.fold_records import from_json

    return from_json


def test_a_record_is_read_as_it_was_written(from_json):
    raw = json.loads(json.dumps(make_fold_record("alone", 1, seed=3, structures=("gland", "tissue"), pq=0.6)))
    record = from_json(raw, "records/a.json")
    assert (record.row, record.sources) == ("alone", ("source_gland", "source_tissue"))
    assert record.division == (("fold2",), "fold1", 3)
    assert record.structures == ("gland", "tissue")
    assert record.header.cell == raw["cell"]
    assert record.header.run == raw["run"]
    assert record.scores["test.gland.pq"] == record.scores["external.gland.pq"] == 0.6
    assert record.scores["test.tissue.num_images"] == 30
    assert "external.tissue.map" not in record.scores
    assert record.per_class["test.tissue.ap_per_class"][:2] == (0.25, 0.75)
    assert math.isnan(record.per_class["test.tissue.ap_per_class"][2])
    assert record.classes["tissue"][1] == "stroma"
    assert record.curve[2] == (100, raw["curve"][2]["loss"])
    assert record.panels[0].pictures.truth == raw["panels"][0]["truth"]
    assert record.model_folder == f"runs/{raw['pretraining']}/{raw['cell']}/model"


def test_panoptic_quality_of_an_image(from_json):
    # 6 matches of IoU 4.5 together, 2 found for nothing, 6 missed: 4.5 / (6 + 8 / 2) = 0.45.
    (image,) = from_json(make_fold_record(structures=("gland",)), "here").images
    assert image.pq == pytest.approx(0.45)


def test_an_image_without_objects_has_no_quality(from_json):
    raw = make_fold_record(structures=("gland",))
    raw["images"][0]["counts"] = {"tp": 0, "fp": 0, "fn": 0, "sum_iou": 0.0}
    assert math.isnan(from_json(raw, "here").images[0].pq)


def test_records_without_names_of_classes_are_read(from_json):
    raw = make_fold_record()
    del raw["classes"]
    assert from_json(raw, "here").classes == {}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["format"], 2, "field format is 2; expected a record of format 1"),
        (["run", "row"], 7, r"field run\.row is 7; expected a text"),
        (["run", "train"], "fold1", r"field run\.train is 'fold1'; expected a list"),
        (["run", "seed"], -1, r"field run\.seed is -1; expected a whole number, 0 or more"),
        (["scores"], [], r"field scores is \[\]; expected an object"),
        (["scores", "test"], 0.5, r"field scores\.test is 0\.5; expected an object"),
        (["scores", "test", "gland"], None, r"field scores\.test\.gland is None; expected an object"),
        (["scores", "test", "gland", "pq"], 1.5, r"field scores\.test\.gland\.pq is 1\.5; .* within 0 and 1"),
        (["scores", "test", "gland", "num_images"], 0.5, r"gland\.num_images is 0\.5; expected a whole number"),
        (["scores", "test", "gland", "pq"], [2], r"field scores\.test\.gland\.pq is \[2\]; .* within 0 and 1"),
        (["classes"], {"tissue": "stroma"}, "field classes is .*; expected a list"),
        (["curve", 0, "step"], None, r"field curve\[0\]\.step is None; expected a whole number"),
        (["images", 0, "counts", "tp"], -1, r"field images\[0\]\.counts\.tp is -1; expected a whole number"),
        (["panels"], [{"structure": "gland", "source": "s"}], r"field panels\[0\]\.key is missing"),
    ],
)
def test_a_bad_field_is_named_with_its_record(from_json, path, value, message):
    raw = json.loads(json.dumps(make_fold_record()))
    set_field(raw, path, value)
    with pytest.raises(DataError, match=message) as refusal:
        from_json(raw, "records/a.json")
    assert str(refusal.value).startswith("records/a.json: ")


@pytest.mark.parametrize("field", ["cell", "run", "scores", "curve", "images", "panels", "seconds"])
def test_a_missing_field_is_named(from_json, field):
    raw = make_fold_record()
    del raw[field]
    with pytest.raises(DataError, match=f"field {field} is missing"):
        from_json(raw, "here")
