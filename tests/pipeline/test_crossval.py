"""From shards to a record over folds: what it holds, what subtyping leaves alone, and that nothing is done twice."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from histoseg.errors import DataError
from histoseg.models.weights import load_model
from histoseg.pipeline import crossval
from histoseg.records.write import open_dataset
from histoseg.runs.names import from_json, to_json
from histoseg.store.objects import connect
from histoseg.training import loop, progress
from histoseg.training.process import Process


class Interrupted(Exception):
    """What a kill looks like from inside."""


@pytest.fixture
def store(folds_url, tmp_path):
    """A store of one's own with the shards."""
    shards, own = connect(folds_url), connect(f"file://{tmp_path / 'store'}")
    for key in shards.list("shards/"):
        own.put(key, shards.get(key))
    return own


def record_of(run, store, tmp_path, process=None):
    (key,) = crossval.complete([run], store, tmp_path / "cache", process or Process())
    return json.loads(store.get(key))


def test_a_record_says_what_was_seen(tiny_fold_run, store, tmp_path):
    record = record_of(tiny_fold_run, store, tmp_path)
    assert from_json(record["run"]) == tiny_fold_run
    assert set(record["scores"]) == {"test", "external"}
    scores = record["scores"]["test"]
    assert set(scores) == {"gland", "lumen", "nuclei", "tissue"}
    assert {"pq", "dice", "pq_pooled", "dq_pooled", "sq_pooled", "otsu_pq"} <= set(scores["gland"])
    assert {"mpq", "mpq_plus"} <= set(scores["nuclei"])
    assert "mpq" not in scores["gland"]
    assert len(scores["tissue"]["ap_per_class"]) == 9
    dataset = open_dataset([tiny_fold_run], store, tmp_path / "cache")
    for structure, source in (("gland", "cerberus_gland"), ("lumen", "cerberus_lumen"), ("nuclei", "lizard")):
        images = dataset.images(source, "fold3")
        found = [one for one in record["images"] if one["structure"] == structure and one["split"] == "fold3"]
        assert {one["key"] for one in found} == set(images)
        maps = {key: dataset.whole_image(source, rows).instance_map for key, rows in images.items()}
        objects = {key: len(np.unique(instance_map)) - 1 for key, instance_map in maps.items()}
        assert {one["key"]: one["counts"]["tp"] + one["counts"]["fn"] for one in found} == objects
        assert scores[structure]["num_objects"] == sum(objects.values())
    assert {panel["structure"] for panel in record["panels"]} == {"gland", "lumen", "nuclei"}
    assert all(store.size(panel[name]) for panel in record["panels"] for name in ("image", "truth", "prediction"))


def test_the_kept_model_is_the_one_that_was_scored(tiny_fold_run, store, tmp_path):
    record = record_of(tiny_fold_run, store, tmp_path)
    folder = f"runs/{record['pretraining']}/{record['cell']}/model"
    for name in ("model.safetensors", "model.json"):
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / name).write_bytes(store.get(f"{folder}/{name}"))
    model = load_model(tmp_path / "model")
    assert model.mpp == 0.5
    assert model.classes["nuclei_type"][1:3] == ("neutrophil", "epithelial")
    assert len(model.classes["tissue"]) == 9
    assert set(model.network.decoders) == {"gland", "lumen", "nuclei", "nuclei_type"}


def test_subtyping_leaves_every_other_number_as_it_was(tiny_fold_run, store, tmp_path):
    dataset = open_dataset([tiny_fold_run], store, tmp_path / "cache")
    trained = crossval.train_network(tiny_fold_run, dataset, store, Process())
    before = {name: value.clone() for name, value in trained.model.state_dict().items()}
    subtyped = crossval._train_subtyping(tiny_fold_run, trained.model, dataset, store, Process())
    after = subtyped.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    new = [name for name in after if name not in before]
    assert new
    assert all(name.startswith("decoders.nuclei_type.") for name in new)
    assert len(subtyped.curve) == tiny_fold_run.subtype_optim.steps


@pytest.mark.parametrize("broken_at", ["train", "subtyping"])
def test_a_resumed_run_has_the_same_record(tiny_fold_run, store, tmp_path, monkeypatch, broken_at):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.0)
    whole = record_of(tiny_fold_run, store, tmp_path)
    for key in (*store.list("runs/"), *store.list("records/")):
        store.delete(key)

    def stop(status):
        if status.label.startswith(broken_at) and status.step == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        record_of(tiny_fold_run, store, tmp_path, Process(listeners=(SimpleNamespace(on_status=stop, close=print),)))
    resumed = record_of(tiny_fold_run, store, tmp_path)
    for field in ("cell", "scores", "images", "curve", "subtyping_curve", "panels"):
        assert resumed[field] == whole[field], field


def test_a_finished_run_is_not_run_again(tiny_fold_run, store, tmp_path, monkeypatch):
    first = record_of(tiny_fold_run, store, tmp_path)
    monkeypatch.setattr(crossval, "train", lambda *_: pytest.fail("ran again"))
    assert record_of(tiny_fold_run, store, tmp_path) == first


def test_a_single_structure_is_a_network_of_its_own(tiny_fold_run, store, tmp_path):
    run = replace(tiny_fold_run, sources=("kather5k",), subtyping=None)
    record = record_of(run, store, tmp_path)
    assert set(record["scores"]["test"]) == {"tissue"}
    assert record["images"] == record["panels"] == []


def test_subtyping_without_classes_is_refused(tiny_fold_run, store, tmp_path):
    run = replace(tiny_fold_run, sources=("cerberus_gland",))
    with pytest.raises(DataError, match="none of cerberus_gland tells classes of nuclei"):
        record_of(run, store, tmp_path)


def test_a_run_survives_json(tiny_fold_run):
    assert from_json(json.loads(json.dumps(to_json(tiny_fold_run)))) == tiny_fold_run
    assert from_json(to_json(replace(tiny_fold_run, subtyping=None))).subtyping is None
