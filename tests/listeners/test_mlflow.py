"""Runs as MLflow's own client reads them, from its store on disk: a tracking server is too large for a test."""

from dataclasses import replace

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from histoseg.errors import ConfigError
from histoseg.listeners import mlflow
from histoseg.training.listening import listening
from tests.training.test_listening import context, status  # noqa: F401 # a fixture

CONFIG = {"experiment": "smoke", "optim": {"steps": 9, "lr": 0.001}, "predecessors": ["glas", "monuseg"]}


@pytest.fixture
def uri(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return f"file://{tmp_path}/mlruns"


@pytest.fixture
def train(context, uri):  # noqa: F811 # a fixture
    def do(steps):
        listener = mlflow.listen(uri, replace(context, config=CONFIG))
        for step in steps:
            listener.on_status(status(step, loss=step / 8))
        listener.close()

    return do


def runs_of(uri):
    client = MlflowClient(tracking_uri=uri)
    return client, client.search_runs([client.get_experiment_by_name("smoke").experiment_id])


def test_a_training_is_a_run_with_its_parameters_and_metrics(train, uri):
    train([1, 2])
    client, (run,) = runs_of(uri)
    assert (run.info.run_name, run.info.status, run.data.tags["histoseg.training"]) == (
        "pretrain x",
        "FINISHED",
        "0123abcd",
    )
    wanted = {"experiment": "smoke", "optim.steps": "9", "optim.lr": "0.001", "predecessors": '["glas", "monuseg"]'}
    assert run.data.params == wanted
    assert [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "loss")] == [
        (1, 0.125),
        (2, 0.25),
    ]
    assert set(run.data.metrics) == {"loss", "images_per_s", "loader_wait"}


def test_a_training_that_is_restarted_goes_on_in_its_run(train, uri):
    train([1])
    train([2])
    client, (run,) = runs_of(uri)
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [1, 2]


def test_a_server_that_is_away_is_one_warning(context, caplog):  # noqa: F811 # a fixture
    with listening(["mlflow=http://127.0.0.1:9"], context) as (listener,):
        listener.on_status(status(1))
        listener.on_status(status(2))
    (message,) = caplog.messages
    assert message.startswith("listener mlflow=http://127.0.0.1:9: ")
    assert "Connection refused" in message


def test_one_that_was_away_at_first_gets_what_follows(context, uri, monkeypatch):  # noqa: F811 # a fixture
    listener = mlflow.listen(uri, context)
    client, away = listener._client, MlflowClient(tracking_uri="http://127.0.0.1:9")
    listener._client = away
    with pytest.raises(MlflowException):
        listener.on_status(status(1))
    listener._client = client
    listener.on_status(status(2))
    listener.close()
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert [run.info.run_name for run in runs_of(uri)[1]] == ["pretrain x"]


def test_the_environment_names_the_server_or_the_argument(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ConfigError, match="LISTEN=mlflow=http://host:5000"):
        mlflow.require("")
    mlflow.require("http://host:5000")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    mlflow.require("")


def test_without_its_package_it_is_refused_in_time(monkeypatch):
    monkeypatch.setattr(mlflow, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"histoseg\[mlflow\]"):
        mlflow.require("http://host:5000")
