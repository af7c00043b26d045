"""HoVer-Net's two phases: resumed, on several ranks, and scored, they are those of one process without a break."""

from dataclasses import replace

import pytest
import torch

from histoseg.methods.multitask import MultiTask
from histoseg.models.hovernet import HoVerNetSpec
from histoseg.pipeline.complete import complete
from histoseg.records.schema import Record
from histoseg.runs.config import Optim, Select, Stage
from histoseg.scoring.objects import Objects
from histoseg.store.objects import connect
from histoseg.training import listeners, loop
from histoseg.training.process import Process
from tests.stages import network_of, training_of
from tests.training.test_cerberus_ranks import check_ranks
from tests.training.test_resume import Interrupted, numbers_of, stop_at


@pytest.fixture
def run(tiny_fold_run):
    """Patches of 104 pixels, of which 12 are predicted: three steps of the decoders, then three of all."""
    select = Select(sources=("lizard",), splits=("fold1",))
    stages = tuple(
        Stage(
            label=label,
            method=MultiTask(batch=3, mixed=False, trains=trains),
            select=select,
            optim=Optim(lr=1e-3, steps=3),
        )
        for label, trains in (("decoders", "decoders"), ("whole", "all"))
    )
    return replace(
        tiny_fold_run,
        row="hovernet",
        data=replace(tiny_fold_run.data, cut_px=104),
        network=HoVerNetSpec(width=8),
        stages=stages,
        score=Select(sources=("lizard",), splits=("fold3",)),
        evaluator=Objects(window_px=256, margin_px=56),
    )


def test_the_first_phase_leaves_the_encoder_as_it_was(run, fold_dataset, tmp_path):
    training = training_of(run, fold_dataset)
    network = network_of(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trained = loop.train(network, training, loop.Checkpoints(connect(f"file://{tmp_path}"), "run"), Process()).model
    changed = {name for name, value in trained.state_dict().items() if not torch.equal(value, before[name])}
    norms = ("running_mean", "running_var", "num_batches_tracked")
    assert not [name for name in changed if name.startswith("encoder.") and not name.endswith(norms)]
    assert {name.split(".")[1] for name in changed if name.startswith("decoders.")} == {"np", "hv", "tp"}
    later = network_of(training_of(run, fold_dataset, 1), trained)
    assert all(parameter.requires_grad for parameter in later.parameters())


def record_of(run, folds_url, tmp_path, name, process=None):
    store, shards = connect(f"file://{tmp_path / name}"), connect(folds_url)
    for key in shards.list("shards/"):
        store.put_if_absent(key, shards.get(key))
    (key,) = complete([run], store, tmp_path / "cache", process or Process())
    return Record.model_validate_json(store.get(key))


@pytest.mark.slow
def test_a_run_that_was_broken_in_both_phases_has_the_same_record(run, folds_url, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(listeners, "LOG_EVERY_S", 0.0)
    whole = record_of(run, folds_url, tmp_path, "whole")
    for label in ("decoders", "whole"):
        with pytest.raises(Interrupted):
            record_of(run, folds_url, tmp_path, "broken", stop_at(2, label))
    assert numbers_of(record_of(run, folds_url, tmp_path, "broken")) == numbers_of(whole)
    assert {"test.nuclei.pq", "test.nuclei.mpq", "test.nuclei.mpq_plus", "test.nuclei.otsu_pq"} <= set(whole.scores)
    assert [len(stage.curve) for stage in whole.stages] == [3, 3]


@pytest.mark.slow
def test_ranks_have_the_gradients_and_statistics_of_one_process(on_two_ranks, run, folds_url, tmp_path):
    """Of three patches two ranks have two and one; steps are tiny, see tests/training/test_cerberus_ranks.py."""
    stages = tuple(replace(stage, optim=Optim(lr=1e-7, steps=2)) for stage in run.stages)
    check_ranks(on_two_ranks, replace(run, stages=stages), "histoseg.models.hovernet.network", folds_url, tmp_path)


@pytest.mark.slow
def test_a_rank_without_patches_computes_with_the_others(on_two_ranks, run, folds_url, tmp_path):
    stages = tuple(
        replace(stage, method=replace(stage.method, batch=1), optim=Optim(lr=1e-7, steps=1)) for stage in run.stages
    )
    check_ranks(on_two_ranks, replace(run, stages=stages), "histoseg.models.hovernet.network", folds_url, tmp_path)
