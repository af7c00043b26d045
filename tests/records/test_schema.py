"""Records: written once, and read back as they were."""

import json
import math

import pytest
from pydantic import ValidationError

from histoseg.records.schema import FORMAT, Counts, Panel, Point, Record, ScoredImage, StageRecord
from histoseg.records.write import put_record
from histoseg.store.keys import record_key
from histoseg.store.objects import connect

NAN = math.nan
COUNTS = Counts(tp=2, fp=1, fn=0, sum_iou=1.5)
# A record with every field, and an undefined number wherever there may be one.
FIELDS = {
    "name": "0123456789abcdef",
    "experiment": "lab",
    "scale": "tiny",
    "row": "glas",
    "column": "all_others.maml",
    "replicate": "seed 3",
    "seed": 3,
    "run": {"experiment": "lab", "stages": [{"label": "train", "optim": {"lr": 0.1}}]},
    "sources": ("glas", "lizard"),
    "checksums": {"glas": "a", "lizard": "b"},
    "origins": {"glas": "demo", "lizard": "raw"},
    "stages": (
        StageRecord(
            stage="f",
            label="train",
            curve=(Point(step=1, loss=0.5), Point(step=2, loss=0.25, score=0.75)),
            best_step=2,
            seconds=1.5,
        ),
    ),
    "scores": {"miou_pooled": 0.5, "interval_low": NAN},
    "per_class": {"iou": {"background": 0.25, "gland": NAN}},
    "sizes": {"images": 1},
    "images": (
        ScoredImage(
            split="test",
            source="glas",
            key="k",
            patient="p",
            structure="gland",
            confusion=((1, 2), (3, 4)),
            objects=COUNTS,
            otsu=Counts(tp=0, fp=0, fn=2, sum_iou=0.0),
            by_class=(COUNTS,),
        ),
    ),
    "panels": (Panel(source="glas", key="k", image="i", truth="t", prediction="p", legend={"gland": "#E69F00"}),),
    "model": "runs/f/model",
    "git_commit": "c",
    "versions": {"torch": "2"},
    "device": "cpu",
    "world_size": 2,
    "attempt": 1,
    "finished_at": "2026-03-01T12:00:00Z",
    "seconds": {"train": 1.5, "evaluate": 0.5},
    "gpu_seconds": 0.0,
}


def make_record(**changes):
    return Record(**{**FIELDS, **changes})


def read(body):
    return Record.model_validate_json(body)


def test_a_record_is_read_back_as_it_was_written(tmp_path):
    store, record = connect(f"file://{tmp_path}"), make_record()
    assert put_record(record, store)
    body = store.get("records/lab/0123456789abcdef.json")
    assert record_key("lab", record.name) == "records/lab/0123456789abcdef.json"
    found = read(body)
    assert found.model_dump_json() == record.model_dump_json()
    defined = make_record(
        scores={"miou_pooled": 0.5},
        per_class={},
        panels=(),
        stages=(StageRecord(stage="f", label="train", curve=(Point(step=1, loss=0.5, score=0.25),)),),
    )
    assert read(defined.model_dump_json()) == defined  # Undefined numbers do not equal themselves.


def test_a_record_is_written_once(tmp_path):
    store = connect(f"file://{tmp_path}")
    assert put_record(make_record(), store)
    before = store.get("records/lab/0123456789abcdef.json")
    assert not put_record(make_record(attempt=5), store)
    assert store.get("records/lab/0123456789abcdef.json") == before


def test_what_is_undefined_is_nan_in_python_and_null_in_json():
    plain = json.loads(make_record().model_dump_json(), parse_constant=pytest.fail)  # JSON has no NaN.
    assert plain["scores"] == {"miou_pooled": 0.5, "interval_low": None}
    assert plain["per_class"]["iou"]["gland"] is None
    assert plain["panels"][0]["score"] is None
    assert [point["score"] for point in plain["stages"][0]["curve"]] == [None, 0.75]
    found = read(json.dumps(plain))
    undefined = [found.scores["interval_low"], found.per_class["iou"]["gland"], found.panels[0].score]
    undefined.append(found.stages[0].curve[0].score)
    assert all(math.isnan(value) for value in undefined)
    assert (found.scores["miou_pooled"], found.stages[0].curve[1].score) == (0.5, 0.75)


def test_the_format_is_the_first_field():
    """By which a reader tells records of other versions without reading all of them."""
    assert make_record().model_dump_json().startswith(f'{{"format":{FORMAT},')
    assert FORMAT == 2


PATHS = {
    "the record": (),
    "a stage": ("stages", 0),
    "a point": ("stages", 0, "curve", 0),
    "an image": ("images", 0),
    "counts": ("images", 0, "objects"),
    "a panel": ("panels", 0),
}


def part_of(plain, path):
    for name in path:
        plain = plain[name]
    return plain


@pytest.mark.parametrize("where", PATHS)
def test_an_unknown_field_is_refused_by_its_path(where):
    plain = json.loads(make_record().model_dump_json())
    part_of(plain, PATHS[where])["colour"] = 1
    with pytest.raises(ValidationError) as error:
        read(json.dumps(plain))
    (fault,) = error.value.errors()
    assert (fault["loc"], fault["type"]) == ((*PATHS[where], "colour"), "extra_forbidden")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("seed",), -1),
        (("world_size",), 0),
        (("scores", "miou_pooled"), "high"),
        (("images", 0, "objects", "tp"), -1),
        (("images", 0, "objects", "fp"), 0.5),
        (("images", 0, "confusion"), [["a"]]),
        (("stages", 0, "curve", 0, "step"), "first"),
        (("stages", 0, "curve", 0, "loss"), []),
        (("sources",), "glas"),
    ],
)
def test_a_wrong_value_is_refused_by_its_path(path, value):
    plain = json.loads(make_record().model_dump_json())
    part_of(plain, path[:-1])[path[-1]] = value
    with pytest.raises(ValidationError) as error:
        read(json.dumps(plain))
    assert error.value.errors()[0]["loc"][: len(path)] == path


@pytest.mark.parametrize("name", ["name", "run", "stages", "scores", "git_commit", "finished_at", "seconds"])
def test_a_missing_field_is_refused(name):
    plain = json.loads(make_record().model_dump_json())
    del plain[name]
    with pytest.raises(ValidationError, match=name):
        read(json.dumps(plain))


def test_a_record_cannot_be_changed():
    record = make_record()
    with pytest.raises(ValidationError, match="frozen"):
        record.name = "other"


def test_panoptic_quality_of_counts():
    """Kirillov et al. 2019, Eq. 1, by hand: 1.5 / (2 + 1 / 2 + 3 / 2)."""
    assert Counts(tp=2, fp=1, fn=3, sum_iou=1.5).pq == 1.5 / 4
    assert Counts(tp=0, fp=2, fn=0, sum_iou=0.0).pq == 0.0
    assert math.isnan(Counts(tp=0, fp=0, fn=0, sum_iou=0.0).pq)
