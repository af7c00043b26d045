"""MLflow: each training as a run of the MLflow experiment that is called like ours.

The tracking server is the argument, `mlflow=http://host:5000`, or else MLFLOW_TRACKING_URI. MLflow's own variables for
credentials (MLFLOW_TRACKING_TOKEN, …) must be set where trainings run; no listener takes a password as its argument.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.util import find_spec

from histoseg.errors import ConfigError
from histoseg.training.listeners import Status
from histoseg.training.listening import TrainingContext

TAG = "histoseg.training"  # Finds the run of an earlier attempt
METRICS = ("loss", "images_per_s", "loader_wait")
MAX_PARAM_CHARS = 500  # Longer ones are refused by servers older than MLflow 2.8.
# MLflow by default asks a server that is away seven times, for two minutes each. Here the next status asks again.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


def require(argument: str) -> None:
    """Refuse it without its package, or without a server."""
    if find_spec("mlflow") is None:
        raise ConfigError("listener mlflow needs MLflow's client; pip install 'histoseg[mlflow]', on every node")
    if not (argument or os.environ.get("MLFLOW_TRACKING_URI")):
        raise ConfigError(
            "listener mlflow needs a server: LISTEN=mlflow=http://host:5000, or MLFLOW_TRACKING_URI on every node"
        )


def listen(argument: str, context: TrainingContext) -> "MLflow":
    """A listener that logs to the argument's server, or to that of MLFLOW_TRACKING_URI."""
    require(argument)
    return MLflow(argument or os.environ["MLFLOW_TRACKING_URI"], context)


class MLflow:
    """Logs each training as an MLflow run; what is restarted goes on in the same run."""

    def __init__(self, uri: str, context: TrainingContext) -> None:
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        self._context, self._client = context, MlflowClient(tracking_uri=uri)
        self._runs: dict[str, str] = {}  # Ids by label

    def on_status(self, status: Status) -> None:
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        metrics = [Metric(name, getattr(status, name), now_ms, status.step) for name in METRICS]
        if status.label not in self._runs:
            self._runs[status.label] = self._find(status.label) or self._create(status.label)
        self._client.log_batch(self._runs[status.label], metrics=metrics)

    def close(self) -> None:
        for run in self._runs.values():
            self._client.set_terminated(run)

    @cached_property
    def _experiment(self) -> str:
        """The id of the MLflow experiment."""
        found = self._client.get_experiment_by_name(self._context.experiment)
        return str(found.experiment_id if found else self._client.create_experiment(self._context.experiment))

    def _find(self, label: str) -> str:
        """The run of an earlier attempt at this training, or ""."""
        wanted = f"tags.`{TAG}` = '{self._context.id}' and attributes.run_name = '{label}'"
        found = self._client.search_runs([self._experiment], wanted, max_results=1)
        return found[0].info.run_id if found else ""

    def _create(self, label: str) -> str:
        from mlflow.entities import Param

        run = self._client.create_run(self._experiment, tags={TAG: self._context.id}, run_name=label)
        params = [Param(path, text[:MAX_PARAM_CHARS]) for path, text in flattened(self._context.config)]
        self._client.log_batch(run.info.run_id, params=params)
        return str(run.info.run_id)


def flattened(config: Mapping[str, object], before: str = "") -> Iterator[tuple[str, str]]:
    """The fields of a run by their paths, as assignments name them: optim.steps."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value if isinstance(value, str) else json.dumps(value)
