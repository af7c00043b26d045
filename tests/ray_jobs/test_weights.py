"""Weights that are given with a job: in the store before anything is spent, and in every run's name."""

from dataclasses import replace

import pytest
import torch

from histoseg.errors import CheckpointError, StorageError
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.cerberus.network import CerberusParts, build
from histoseg.models.weights import Model, save_model
from histoseg.pipeline.plan import Plan
from histoseg.runs.names import override
from histoseg.runs.request import Request
from histoseg.store.objects import FileStore, connect
from ray_jobs.driver import put_weights_given, require_weights


@pytest.fixture
def store(tmp_path):
    return connect(f"file://{tmp_path / 'store'}")


@pytest.fixture
def model(tmp_path):
    network = build(CerberusParts(encoder="resnet18", width=4, decoders={"gland": 2}), 0)
    spec = CerberusSpec(encoder="resnet18", width=4)
    save_model(Model(spec=spec, network=network, classes={}, mpp=0.5, origin="test"), FileStore(tmp_path / "model"), "")
    return tmp_path / "model"


def request_with(**given):
    return Request(experiment="cerberus", **given)


def plan_of(run):
    return Plan(experiment="cerberus", runs=(run,), sources={}, absent=())


def test_a_model_to_start_from_becomes_part_of_every_run(store, model, tiny_fold_run):

    (assignment,) = put_weights_given(request_with(start=model), store)
    run = override(tiny_fold_run, assignment)
    assert store.size(f"weights/{run.network.weights}.safetensors")
    require_weights(plan_of(run), store)
    assert f"START={model}" in request_with(start=model).command


def test_weights_that_are_not_there_end_the_job_before_it_begins(store, tiny_fold_run):
    run = override(tiny_fold_run, "network.weights='0123456789abcdef'")
    with pytest.raises(StorageError, match="has no weights 0123456789abcdef; give them once more, as START=folder"):
        require_weights(plan_of(run), store)


def test_imagenet_out_of_reach_ends_it_too(store, tiny_fold_run, monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", unreachable)
    run = replace(tiny_fold_run, network=CerberusSpec(weights="imagenet"))
    with pytest.raises(
        StorageError, match=r"no route to host.*give it as IMAGENET=file, or, to a cluster, by `histoseg put-weights"
    ):
        require_weights(plan_of(run), store)


def test_another_file_is_not_imagenets(store, model):
    with pytest.raises(CheckpointError, match="is not one of resnet18"):
        put_weights_given(request_with(imagenet=model / "model.safetensors"), store)
