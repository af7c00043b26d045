"""Records as they are read: what was written comes back, and what is wrong is named in one line."""

import json
import math

import pytest

from histoseg.errors import DataError, OldRecordError
from histoseg.records.cost import times, total_seconds
from histoseg.records.read import read_record
from histoseg.records.schema import Counts, StageRecord
from tests.report.records import make_fold_record, make_record


def plain(record):
    return json.loads(record.model_dump_json())


def read(values):
    return read_record(json.dumps(values).encode(), "records/a.json")


@pytest.mark.parametrize(
    "record", [make_record("breastpathq", "all_others", "transfer", seed=3, with_panels=True), make_fold_record()]
)
def test_a_record_is_read_as_it_was_written(record):
    assert read_record(record.model_dump_json().encode(), "here") == record


def test_undefined_scores_are_null_and_come_back_as_nan():
    record = make_record(miou_pooled=math.nan)
    assert plain(record)["scores"]["miou_pooled"] is None
    assert math.isnan(read(plain(record)).scores["miou_pooled"])
    assert math.isnan(read({**plain(record), "scores": {"miou_pooled": math.nan}}).scores["miou_pooled"])


def set_field(values, path, value):
    *parents, last = path
    for name in parents:
        values = values[name]
    values[last] = value


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (["name"], 7, "name is 7"),
        (["seed"], True, "seed is True"),
        (["seed"], -1, "seed is -1"),
        (["seed"], "0", "seed is '0'"),
        (["run"], [], r"run is \[\]"),
        (["sources"], "glas", "sources is 'glas'"),
        (["seconds"], {"refine": "long"}, r"seconds\.refine is 'long'"),
        (["world_size"], 0, "world_size is 0"),
        (["finished_at"], "yesterday", "finished_at is 'yesterday'"),
        (["finished_at"], "2026-03-01T12:00:00", "finished_at is '2026-03-01T12:00:00'"),
        (["scores", "miou_pooled"], 1.5, r"scores\.miou_pooled is 1\.5: .* within 0 and 1"),
        (["scores", "miou_pooled"], -0.1, r"scores\.miou_pooled is -0\.1: .* within 0 and 1"),
        (["scores", "miou_pooled"], [0.5], r"scores\.miou_pooled is \[0\.5\]"),
        (["per_class", "iou", "gland"], 2, r"per_class\.iou\.gland is 2"),
        (["sizes", "images"], -1, r"sizes\.images is -1"),
        (["images", 1, "confusion"], [[1, 2]], r"images\[1\]\.confusion is .* as many columns as rows"),
        (["images", 1, "confusion"], [[1, 2], [3, -4]], r"images\[1\]\.confusion\[1\]\[1\] is -4"),
        (["images", 1, "confusion"], [[1, 2], [3, 0.5]], r"images\[1\]\.confusion\[1\]\[1\] is 0\.5"),
        (["stages", 0, "curve", 0, "step"], None, r"stages\[0\]\.curve\[0\]\.step is None"),
        (["stages", 0, "label"], None, r"stages\[0\]\.label is None"),
        (["panels"], [{"source": "s", "key": "k"}], r"panels\[0\]\.image is missing"),
        (["colour"], "red", "colour is 'red'"),
    ],
)
def test_a_bad_field_is_named_with_its_record(path, value, field):
    values = plain(make_record())
    set_field(values, path, value)
    with pytest.raises(DataError, match=f"^records/a.json: field {field}.*; delete it and evaluate the cell again$"):
        read(values)


@pytest.mark.parametrize("field", ["format", "name", "row", "replicate", "run", "scores", "stages", "finished_at"])
def test_a_missing_field_is_named(field):
    values = plain(make_record())
    del values[field]
    with pytest.raises(DataError, match=f"^records/a.json: field {field} is missing; delete it"):
        read(values)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe\x00", b"[1, 2]", b"null", b'{"format": 2'])
def test_what_is_not_a_record_is_refused(body):
    with pytest.raises(DataError, match=r"^records/a.json: not a record: .*; delete it and evaluate the cell again$"):
        read_record(body, "records/a.json")


@pytest.mark.parametrize("number", [1, 3, 12])
def test_a_record_of_another_format_is_told_apart(number):
    for body in (json.dumps({"format": number}), json.dumps({"format": number, "cell": "a"}, indent=2)):
        with pytest.raises(OldRecordError) as refusal:
            read_record(body.encode(), "records/a.json")
        assert str(refusal.value) == f"records/a.json: record of format {number}; evaluate the cell again"


def test_a_mean_of_ones_that_is_rounded_up_is_a_score():
    assert read(plain(make_record(miou_pooled=1 + 2**-52))).scores["miou_pooled"] > 1


def test_panoptic_quality_of_counts():
    # 6 matches of IoU 4.5 together, 2 found for nothing, 6 missed: 4.5 / (6 + 8 / 2) = 0.45.
    assert Counts(tp=6, fp=2, fn=6, sum_iou=4.5).pq == pytest.approx(0.45)
    assert math.isnan(Counts(tp=0, fp=0, fn=0, sum_iou=0.0).pq)


def test_a_shared_training_counts_once():
    # Two runs of one pretraining: 61.5 once, then 20.25 + 4 each; on two GPUs, twice that in GPU time.
    pretraining = StageRecord(stage="same", label="pretrain")
    pair = [
        make_record(seed=seed).model_copy(
            update={"stages": (pretraining, StageRecord(stage=f"refining {seed}", label="refine"))}
        )
        for seed in (0, 1)
    ]
    assert total_seconds(map(times, pair)) == (61.5 + 2 * 24.25, 0)
    on_gpus = [record.model_copy(update={"world_size": 2, "gpu_seconds": 171.5}) for record in pair]
    assert total_seconds(map(times, on_gpus)) == (61.5 + 2 * 24.25, 2 * (61.5 + 2 * 24.25))
