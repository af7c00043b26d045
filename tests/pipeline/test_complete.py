"""From runs to their records: what a record holds, that nothing is done twice, and that a kill changes nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest

from histoseg.errors import DataError
from histoseg.machine import git_commit, versions
from histoseg.metrics.panoptic import PanopticCounts, mpq, mpq_plus
from histoseg.models.weights import load_model
from histoseg.pipeline import complete as completing
from histoseg.pipeline import stage as staging
from histoseg.pipeline.complete import complete, open_dataset
from histoseg.records.schema import Record
from histoseg.runs.config import Data, Select
from histoseg.runs.names import from_json, run_name, stage_name
from histoseg.scoring._pictures import Pictures
from histoseg.scoring.object_classes import ObjectClasses
from histoseg.shards.in_memory import put_source
from histoseg.training.process import Process
from histoseg.types import Place
from tests.pipeline.kills import MortalStore, Point
from tests.pipeline.small_runs import (
    CELLS,
    FOLDS,
    TISSUES,
    folds_run,
    folds_store,
    forget,
    leave_one_out_run,
    leave_one_out_store,
    probe_run,
    without_times,
)
from tests.small_store import make_task, squares_samples

KINDS = {
    "leave one out": (leave_one_out_store, leave_one_out_run),
    "folds": (folds_store, folds_run),
    "probe": (folds_store, probe_run),
}


@pytest.fixture
def tasks(tmp_path):
    return leave_one_out_store(tmp_path / "store")


@pytest.fixture
def folds(tmp_path):
    return folds_store(tmp_path / "store")


@pytest.fixture
def record_of(tmp_path):
    """Completes a run and gives its record."""

    def record_of(run, store, process=None):
        (key,) = complete([run], store, tmp_path / "cache", process or Process())
        return Record.model_validate_json(store.get(key))

    return record_of


@pytest.fixture
def trained(monkeypatch):
    """The label of each training that begins."""
    labels, train = [], staging.train

    def noted(model, training, *rest):
        labels.append(training.label)
        return train(model, training, *rest)

    monkeypatch.setattr(staging, "train", noted)
    return labels


def checksums(store, run, tmp_path):
    return open_dataset([run], store, tmp_path / "cache").checksums


def test_a_record_says_what_was_run(tasks, record_of, tmp_path):
    run = replace(leave_one_out_run(), seed=7)
    record = record_of(run, tasks, Process(attempt=2))
    sums = checksums(tasks, run, tmp_path)
    assert (record.name, from_json(record.run)) == (run_name(run, sums), run)
    assert (record.experiment, record.scale, record.row, record.column) == ("lab", "tiny", "new", "all_others.maml")
    assert (record.seed, record.replicate) == (7, "seed 7")
    assert record.sources == ("first", "second", "new")
    assert record.checksums == sums
    assert record.origins == {"first": "demo", "second": "demo", "new": "demo"}
    assert (record.git_commit, record.versions) == (git_commit(), versions())
    assert (record.device, record.world_size, record.attempt, record.gpu_seconds) == ("cpu", 1, 2, 0.0)
    assert record.finished_at.endswith("Z")
    assert list(record.seconds) == ["pretrain", "refine", "evaluate"]
    assert all(seconds > 0 for seconds in record.seconds.values())


def test_a_record_has_the_curve_of_each_stage(tasks, record_of, tmp_path):
    run = leave_one_out_run()
    record = record_of(run, tasks)
    names = [stage_name(run, number, checksums(tasks, run, tmp_path)) for number in (0, 1)]
    pretrain, refine = record.stages
    assert [(stage.stage, stage.label) for stage in record.stages] == list(
        zip(names, ("pretrain", "refine"), strict=True)
    )
    assert record.model == f"runs/{names[1]}/model"
    assert [point.step for point in pretrain.curve] == [point.step for point in refine.curve] == [1, 2]
    assert np.isnan([point.score for point in pretrain.curve]).all()  # Nothing is validated while pretraining.
    best = max(refine.curve, key=lambda point: point.score)
    assert (pretrain.best_step, refine.best_step) == (2, best.step)
    assert (record.seconds["pretrain"], record.seconds["refine"]) == (pretrain.seconds, refine.seconds)


def test_a_record_has_the_scores_of_the_test_images(tasks, record_of):
    record = record_of(leave_one_out_run(), tasks)
    assert 0 < record.scores["miou_pooled"] < 1
    assert set(record.per_class["iou"]) == {"background", "gland"}
    assert [image.key for image in record.images] == ["f", "g", "h"]
    assert record.sizes == {"images": 3, "pixels": 3 * 48 * 48}
    assert np.sum([image.confusion for image in record.images]) == 3 * 48 * 48
    pictures = [key for panel in record.panels for key in (panel.image, panel.truth, panel.prediction)]
    assert sorted(pictures) == tasks.list(f"records/lab/panels/{record.name}/")
    assert len(pictures) == 2 * 3


def test_a_record_over_folds_says_what_was_seen(folds, record_of, tmp_path):
    run = folds_run()
    record = record_of(run, folds)
    assert from_json(record.run) == run
    assert (record.row, record.column, record.replicate) == ("cerberus", "", "fold1 to fold3, seed 0")
    assert {name.rpartition(".")[0] for name in record.scores} == {
        f"{split}.{structure}" for split in ("test", "external") for structure in ("nuclei", "tissue")
    }
    assert {"test.nuclei.mpq", "test.nuclei.mpq_plus"} <= set(record.scores)
    assert list(record.per_class["test.tissue.ap"]) == list(TISSUES)
    assert (record.sizes["test.tissue.images"], record.sizes["external.tissue.images"]) == (3, 3)
    dataset = open_dataset([run], folds, tmp_path / "cache")
    for split, keys in (("fold3", ["d", "e"]), ("external", ["f"])):
        found = {image.key: image for image in record.images if image.split == split}
        assert list(found) == keys
        for key, rows in dataset.images("cells", split).items():
            true = dataset.whole_image("cells", rows).instance_map
            assert found[key].objects.tp + found[key].objects.fn == true.max()  # Numbered without gaps
            assert np.sum(found[key].confusion, axis=1).tolist() == [(true == 0).sum(), (true > 0).sum()]
            assert sum(counts.tp + counts.fn for counts in found[key].by_class) == true.max()
    assert [panel.key for panel in record.panels] == ["d", "e"]
    assert all(folds.size(getattr(panel, name)) for panel in record.panels for name in ("image", "truth", "prediction"))


def test_the_kept_model_is_the_one_that_was_scored(folds, record_of, tmp_path):
    run = folds_run()
    record = record_of(run, folds)
    model = load_model(folds.path(record.model))
    assert (model.mpp, model.classes) == (0.5, {"nuclei_type": CELLS, "tissue": TISSUES})
    assert model.origin == "lab_folds tiny, subtype cerberus fold1 to fold3, seed 0"
    assert set(model.network.decoders) == {"nuclei", "nuclei_type"}
    assert (model.steps, model.made_up) == (2 + 2, ("cells", "tissue"))  # Of both stages; all of it is demo data.
    dataset = open_dataset([run], folds, tmp_path / "cache")
    pictures = Pictures(store=folds, folder="again", leads=False)
    again = run.evaluator.score(model.network, run, dataset, Process(), pictures)
    assert again.scores == pytest.approx(record.scores, nan_ok=True)
    assert again.images == record.images


def test_classes_of_glands_are_learnt_scored_and_used_like_those_of_nuclei(folds, record_of):
    """A stage for each structure with classes; the later one leaves the decoder of the earlier one as it was.

    The later one is a head on the branch of glands.
    """
    kinds, rng = ("background", "gland", "surface_epithelium"), np.random.default_rng(1)
    glands = {split: squares_samples(rng, [f"{split}g"], "instance", 3) for split in ("fold1", "fold3")}
    put_source(folds, make_task("glands", kinds, "instance", "gland"), FOLDS, glands)
    whole = folds_run()
    learn, subtype = whole.stages
    learn = replace(learn, select=replace(learn.select, sources=("cells", "glands")))
    method = replace(subtype.method, mode="PixelA")
    of_glands = replace(
        subtype, label="subtype_gland", method=method, select=replace(subtype.select, sources=("glands",))
    )
    score = replace(whole.score, sources=("cells", "glands"), splits=("fold3",))
    record = record_of(replace(whole, stages=(learn, subtype, of_glands), score=score), folds)
    assert {"test.gland.mpq", "test.gland.mpq_plus", "test.nuclei.mpq"} <= set(record.scores)
    assert {image.structure: len(image.by_class) for image in record.images} == {"nuclei": 2, "gland": 2}
    for structure in ("nuclei", "gland"):  # A record is enough for any other reading of mPQ.
        images = [image.by_class for image in record.images if image.structure == structure]
        counts = [[PanopticCounts(**one.model_dump()) for one in image] for image in images]
        assert mpq(counts) == pytest.approx(record.scores[f"test.{structure}.mpq"], nan_ok=True)
        assert mpq_plus(counts) == pytest.approx(record.scores[f"test.{structure}.mpq_plus"], nan_ok=True)
    model = load_model(folds.path(record.model))
    assert model.classes == {"nuclei_type": CELLS, "gland_type": kinds}
    assert set(model.network.decoders) == {"nuclei", "gland", "nuclei_type", "gland_type"}
    assert model.network.parts.branches == {"gland_type": "gland"}
    before = load_model(folds.path(f"runs/{record.stages[1].stage}/model")).network.state_dict()
    after = model.network.state_dict()
    assert all(after[name].equal(value) for name, value in before.items())


def test_a_run_may_be_scored_by_the_classes_of_annotated_objects(folds, record_of, tmp_path):
    whole = folds_run()
    run = replace(whole, evaluator=ObjectClasses(window_px=80, margin_px=16))
    record = record_of(run, folds)
    scores = {"map", "mf1", "majority_map", "majority_mf1"}
    assert set(record.scores) == {f"{split}.nuclei.{name}" for split in ("test", "external") for name in scores}
    assert list(record.per_class["test.nuclei.ap"]) == list(record.per_class["external.nuclei.f1"]) == list(CELLS[1:])
    images = open_dataset([run], folds, tmp_path / "cache").whole_images("cells", "fold3")
    assert record.sizes["test.nuclei.objects"] == sum(int(image.instance_map.max()) for image in images)
    assert [panel.key for panel in record.panels] == ["d", "e"]
    assert all(set(panel.legend) >= set(CELLS[1:]) for panel in record.panels)


def test_tissue_alone_has_neither_images_nor_pictures(folds, record_of):
    whole = folds_run()
    learn = replace(whole.stages[0], select=Select(sources=("tissue",), splits=("fold1",)))
    run = replace(whole, stages=(learn,), score=Select(sources=("tissue",), splits=("fold3",)))
    record = record_of(run, folds)
    assert set(record.scores) == {"test.tissue.map", "test.tissue.mf1"}
    assert record.images == record.panels == ()


@pytest.mark.parametrize("kind", KINDS)
def test_a_finished_run_is_not_run_again(kind, record_of, tmp_path, trained):
    make_store, make_run = KINDS[kind]
    store, run = make_store(tmp_path / "store"), make_run()
    record_of(run, store)
    before = {key: store.get(key) for key in store.list()}
    trained.clear()
    record_of(run, MortalStore(store, Point(0, "before")))
    assert not trained
    assert {key: store.get(key) for key in store.list()} == before


def test_runs_that_share_the_first_stage_train_it_once(tasks, record_of, trained, tmp_path):
    run = leave_one_out_run()
    steeper = replace(run.stages[1], optim=replace(run.stages[1].optim, lr=3e-3))
    other = replace(run, row="steeper", stages=(run.stages[0], steeper))
    keys = complete([run, other], tasks, tmp_path / "cache", Process())
    assert trained == [
        "pretrain all_others.maml",
        "refine new all_others.maml",
        "refine steeper all_others.maml",
    ]
    first, second = (Record.model_validate_json(tasks.get(key)) for key in keys)
    assert (first.row, second.row) == ("new", "steeper")
    assert first.stages[0] == second.stages[0]
    # The second was not changed by what was done for the first.
    forget(tasks)
    alone = record_of(other, tasks)
    assert json_of(second) == json_of(alone)


def json_of(record):
    return without_times(json.loads(record.model_dump_json()))


def test_a_run_that_is_added_later_takes_the_first_stage_from_the_store(folds, record_of, trained):
    run = folds_run()
    plain = replace(run, row="plain", stages=run.stages[:1])
    record = record_of(plain, folds)
    assert trained == ["train plain fold1 to fold3"]
    later = record_of(run, folds)
    assert trained == ["train plain fold1 to fold3", "subtype cerberus fold1 to fold3"]
    assert later.stages[0] == record.stages[0]
    # Subtyping changes nothing of what the network knew before.
    assert [image.objects for image in later.images] == [image.objects for image in record.images]
    assert "test.nuclei.mpq" in later.scores
    assert "test.nuclei.mpq" not in record.scores


def test_only_runs_without_a_record_are_completed(tasks, tmp_path, trained):
    run = leave_one_out_run()
    other = replace(run, row="other")
    (key,) = complete([run], tasks, tmp_path / "cache", Process())
    trained.clear()
    keys = complete([other, run], tasks, tmp_path / "cache", Process())
    assert keys[1] == key
    assert len(set(keys)) == 2
    assert trained == []  # Both stages of the other are those of the first.
    assert Record.model_validate_json(tasks.get(keys[0])).row == "other"


def test_a_record_that_another_rank_misses_is_made_again_but_not_changed(tasks, record_of, tmp_path, monkeypatch):
    """Ranks may see the store at different moments; here another one has not seen the record yet."""
    run = leave_one_out_run()
    record = record_of(run, tasks)
    scored = []
    score = type(run.evaluator).score

    def noted(*given):
        scored.append(given)
        return score(*given)

    monkeypatch.setattr(type(run.evaluator), "score", noted)
    monkeypatch.setattr(completing, "sum_over_ranks", lambda tensor: tensor + 1)
    again = record_of(run, tasks)
    assert len(scored) == 1
    assert again == record or again.model_dump_json() == record.model_dump_json()


def test_a_rank_that_does_not_lead_writes_nothing(tasks, tmp_path, monkeypatch):
    store = MortalStore(tasks, Point(0, "before"))
    process = Process(place=Place(rank=1, world_size=2))
    (key,) = complete([leave_one_out_run()], store, tmp_path / "cache", process)
    assert key.startswith("records/lab/")
    assert tasks.list("runs/") == tasks.list("records/") == []


def test_tiles_too_small_for_the_augmentation_are_refused(tasks, tmp_path):
    """Half as many pixels in a patch of 32 need 64; the layout is the same."""
    wide = replace(leave_one_out_run(), data=Data(patch_px=32, scale=(0.5, 1.0), rotate_deg=0.0))
    with pytest.raises(DataError, match=r"first, second, new .*32 px.* 64; `make submit`"):
        open_dataset([wide], tasks, tmp_path / "cache")


def test_sources_that_are_not_prepared_are_refused(tasks, tmp_path):
    run = leave_one_out_run()
    other = replace(run, data=Data(patch_px=48))
    with pytest.raises(DataError, match=rf"{tasks.url} has no shards of first laid out as 48px; .*histoseg prepare"):
        open_dataset([other], tasks, tmp_path / "cache")


def test_a_dataset_has_every_source_that_some_run_reads(tasks, tmp_path):
    run = leave_one_out_run()
    narrow = replace(run, stages=(replace(run.stages[0], select=Select(sources=("second",))),))
    wide = replace(narrow, stages=(replace(run.stages[0], select=Select(sources=("first",))),))
    assert list(open_dataset([narrow, wide], tasks, tmp_path / "cache").sources) == ["second", "new", "first"]
