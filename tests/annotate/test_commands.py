"""The commands from images to a source and a status, with a small network of random weights."""

import shutil

import pytest

from histoseg.models.cerberus import CerberusSpec
from histoseg.models.weights import Model, save_model
from histoseg.records.write import put_record
from histoseg.store.objects import FileStore
from tests.annotate.rounds import box, draw_images, write_features
from tests.command import run, succeed
from tests.report.records import make_fold_record
from tests.small_store import make_task

SPEC = CerberusSpec(encoder="resnet18", width=4)


@pytest.fixture
def store(tmp_path):
    """A store with the model of a finished stage, and of the next one."""
    store = FileStore(tmp_path / "store")
    tasks = {"cells": make_task("cells", ("background", "cell"), "instance", "nuclei")}
    for seed, (name, pq) in enumerate((("one", 0.5), ("two", 0.6))):
        network = SPEC.build(tasks, seed, 16).eval()
        save_model(Model(spec=SPEC, network=network, classes={}, mpp=0.5, origin=name), store, f"runs/{name}/model")
        record = make_fold_record(structures=("nuclei",), pq=pq, seed=len(name) + int(10 * pq))
        put_record(record.model_copy(update={"model": f"runs/{name}/model"}), store)
    return store


def test_from_images_to_a_source_and_back(store, tmp_path, capsys):
    draw_images(tmp_path / "images")
    first, second = tmp_path / "round1", tmp_path / "round2"
    asked = [tmp_path / "images", "--mpp", 0.5, "--size-px", 100, "--count", 2]
    before, after = (str(store.root / "runs" / name / "model") for name in ("one", "two"))
    said = succeed(capsys, "annotate", "next", *asked, "--model", before, "--out", first)
    names = [line.split()[0] for line in said.splitlines()[-3:-1]]
    assert said.splitlines()[-1] == str(first)
    assert "already" in run(capsys, "annotate", "next", *asked, "--model", before, "--out", first)[2]
    assert succeed(capsys, "annotate", "export", first).splitlines()[-1] == str(first / "regions")
    sent = tmp_path / "sent"
    sent.mkdir()
    for name in names:
        write_features(sent / f"{name}.geojson", [box(10, 10, 12), box(40, 40, 9)])
    given = ["--source", "our_nuclei", "--by", "Ada", "--raw", tmp_path / "raw"]
    said = succeed(capsys, "annotate", "import", first, sent, *given)
    assert "our_nuclei, version 1: 2 regions by Ada; 0 objects as the model drew them, 4 by hand" in said
    assert "nothing was merged" not in said
    assert "nothing was merged" in succeed(capsys, "annotate", "import", first, sent, *given)
    write_features(sent / f"{names[0]}.geojson", [box(10, 10, 12, "gland")])
    code, _, errors = run(capsys, "annotate", "import", first, sent, *given)
    assert code == 1
    assert "'gland': 1; choose from nucleus" in errors
    said = succeed(capsys, "annotate", "next", *asked, "--model", after, "--out", second, "--done", first)
    assert not set(names) & {line.split()[0] for line in said.splitlines()}
    lines = succeed(
        capsys, "annotate", "status", first, second, "--store", store.url, "--score", "test.nuclei.pq"
    ).splitlines()
    assert lines[0].startswith("round1: 2 regions, difficult; exported; 2 back; 0 objects as the model drew them, 4 by")
    assert lines[1] == "round2: 2 regions, difficult; not exported; 0 back"
    assert lines[2:4] == ["before round1: test.nuclei.pq 0.500", "before round2: test.nuclei.pq 0.600, gain +0.100"]
    assert lines[4].startswith("go on:")
    rule = ["--last-rounds", 1, "--least-gain", 0.2]
    wanted = ["--store", store.url, "--score", "test.nuclei.pq", *rule]
    assert succeed(capsys, "annotate", "status", first, second, *wanted).splitlines()[-1].startswith("stop: it is +0.1")


def test_the_advice_for_images_without_a_resolution_can_be_followed(store, tmp_path, capsys):
    draw_images(tmp_path / "images")
    asked = [tmp_path / "images", "--model", store.root / "runs" / "one" / "model", "--out", tmp_path / "round1"]
    asked += ["--size-px", 100, "--count", 1, "--strategy", "random"]
    code, _, errors = run(capsys, "annotate", "next", *asked)
    assert code == 1
    assert "give --mpp" in errors
    succeed(capsys, "annotate", "next", *asked, "--mpp", 0.5)


def test_the_score_of_a_model_is_found_wherever_its_folder_was_copied_to(store, tmp_path, capsys):
    """A run leaves its model in the store and in results/, where the next run replaces it."""
    draw_images(tmp_path / "images")
    asked = [tmp_path / "images", "--mpp", 0.5, "--size-px", 100, "--count", 1, "--strategy", "random"]
    model, round1 = tmp_path / "results" / "model", tmp_path / "round1"
    shutil.copytree(store.root / "runs" / "one" / "model", model)
    succeed(capsys, "annotate", "next", *asked, "--model", model, "--out", round1)
    shutil.copytree(store.root / "runs" / "two" / "model", model, dirs_exist_ok=True)
    wanted = ["--store", store.url, "--score", "test.nuclei.pq", "--model", model]
    lines = succeed(capsys, "annotate", "status", round1, *wanted).splitlines()
    assert lines[1:3] == ["before round1: test.nuclei.pq 0.500", "now: test.nuclei.pq 0.600, gain +0.100"]
    store.put("runs/one/model/model.json", b"{")
    code, _, errors = run(capsys, "annotate", "status", round1, *wanted)
    assert code == 1
    (line,) = errors.splitlines()
    assert "runs/one/model/model.json does not describe a model" in line


def test_models_that_were_scored_on_different_images_are_not_compared_in_silence(store, tmp_path, capsys):
    """As where regions of a round came to the fold that is scored."""
    draw_images(tmp_path / "images")
    asked = [tmp_path / "images", "--mpp", 0.5, "--size-px", 100, "--count", 1, "--strategy", "random"]
    before, after = (store.root / "runs" / name / "model" for name in ("one", "two"))
    round1 = tmp_path / "round1"
    succeed(capsys, "annotate", "next", *asked, "--model", before, "--out", round1)
    wanted = [round1, "--store", store.url, "--score", "test.nuclei.pq", "--model", after]
    said = "not scored on the same images"
    assert said not in succeed(capsys, "annotate", "status", *wanted)
    record = make_fold_record(structures=("nuclei",), pq=0.6, seed=99)
    more = record.images[0].model_copy(update={"source": "our_nuclei"})
    changed = {"model": "runs/two/model", "images": (*record.images, more)}
    put_record(record.model_copy(update=changed), store)
    assert said in succeed(capsys, "annotate", "status", *wanted)


def test_a_status_without_what_it_needs_says_so(store, tmp_path, capsys):
    assert "holds no plan.json" in run(capsys, "annotate", "status", tmp_path)[2]
    assert "go together" in run(capsys, "annotate", "status", tmp_path, "--store", store.url)[2]
