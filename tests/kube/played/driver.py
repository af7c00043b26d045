"""A job's driver and trainings as tests play them: what they leave in a real store, and what they print."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.exceptions import ClientError

from histoseg.experiments._available import assumed
from histoseg.pipeline.plan import load_experiment
from histoseg.runs.config import Run
from histoseg.runs.job import request_of
from histoseg.runs.plain import digest
from histoseg.sources._declared import load_source
from histoseg.store.keys import lease_folder, lease_key, record_key, results_folder, stage_folder
from tests.kube.kubelet import Log
from tests.kube.played.faults import Faults

STEPS_A_TICK = 25  # 800 steps take some 5 s, in which the scenarios disturb them


@dataclass(kw_only=True)
class Training:
    """A cell on its way.

    Attributes:
        worker: The uid of the worker's pod; empty while it waits for one.
        attempt: The number of its lease; 0 before it has one.
    """

    run: Run
    name: str
    step: int = 0
    worker: str = ""
    attempt: int = 0
    is_recorded: bool = False


@dataclass(kw_only=True)
class PlayedDriver:
    """A driver on a head; a new one begins for each submitter."""

    entrypoint: str
    cluster: str
    store: Mapping[str, str]
    faults: Faults
    log: Log
    head: str = ""
    trainings: list[Training] = field(default_factory=list)

    def __post_init__(self) -> None:
        request = request_of(self.entrypoint)
        assert request is not None, self.entrypoint
        self._request = request
        bucket, _, self._prefix = request.store.removeprefix("s3://").partition("/")
        self._bucket = Bucket(bucket, self._prefix, self.store)
        self._steps = int(next((re.sub(r"\D", "", word) for word in request.sets if "steps" in word), "6"))

    def tick(self, heads: Sequence[str], workers: Sequence[str]) -> int | None:
        """Go on where these pods are ready; the submitter's exit code when it ends."""
        if not self.head:
            self.head = heads[0] if heads else ""
            if self.head:
                self._begin()
            return None
        if self.head not in heads:
            self._say("histoseg: the job is unknown to Ray: its head was replaced")
            return 1
        for training in self.trainings:
            self._train(training, workers)
        if all(training.is_recorded for training in self.trainings):
            page = f"{results_folder(self._request.experiment, self._request.name)}/index.html"
            self._bucket.put(page, b"<html>")
            self._say(f"{self._request.store}/{page}")
            return 0
        return None

    def _begin(self) -> None:
        module = load_experiment(self._request.experiment, self._request.scale)
        sources = {name: assumed(load_source(name, {}).TASK) for name in module.SOURCES}
        for run in module.runs(self._request.scale, self._request.seeds, sources):
            name = digest([run.row, run.column, self._request.sets])[:16]
            found = Training(run=run, name=name)
            found.is_recorded = self._bucket.has(record_key(run.experiment, name))
            self.trainings.append(found)
        recorded = [training for training in self.trainings if training.is_recorded]
        self._say(f"cells: {len(recorded)} of {len(self.trainings)} are recorded already")
        if len(self._bucket.keys("leases/")) and self.faults.loses_records and recorded:
            self._bucket.delete(record_key("smoke", recorded[0].name))

    def _train(self, training: Training, workers: Sequence[str]) -> None:
        if training.is_recorded:
            return
        if training.worker not in workers:
            training.worker = workers[0] if workers else ""
            if training.worker:
                self._take(training)
            return
        training.step = min(training.step + STEPS_A_TICK, self._steps)
        self._say(f"pretrain {training.run.column}  step {training.step}/{self._steps}  loss 0.5000")
        if training.step < self._steps:
            self._bucket.put(f"{stage_folder(training.name)}/step-{training.step:08}.json", b"{}")
        else:
            self._record(training)

    def _take(self, training: Training) -> None:
        """Lease the cell, and find its newest checkpoint."""
        training.attempt = len(self._bucket.keys(lease_folder(training.name))) + 1
        self._bucket.put(lease_key(training.name, training.attempt), b"{}")
        steps = [int(key[-13:-5]) for key in self._bucket.keys(f"{stage_folder(training.name)}/step-")]
        if steps:
            training.step = max(steps)
            self._say(f"{stage_folder(training.name)}: resumed at step {training.step}")

    def _record(self, training: Training) -> None:
        run, key = training.run, record_key(training.run.experiment, training.name)
        held = {"row": run.row, "column": run.column, "replicate": run.replicate, "attempt": training.attempt}
        self._bucket.put(key, json.dumps(held).encode())
        if self.faults.writes_twice and training.attempt > 1:
            self._bucket.put(key.replace(".json", "-again.json"), json.dumps(held).encode())
        training.is_recorded = True
        self._say(f"run {training.name} recorded: miou 0.5")

    def _say(self, line: str) -> None:
        self.log.lines.append((datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), line))


class Bucket:
    """A part of a real bucket."""

    def __init__(self, name: str, prefix: str, variables: Mapping[str, str]) -> None:
        self._name, self._prefix = name, prefix
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=variables["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        )

    def put(self, key: str, body: bytes) -> None:
        self._client.put_object(Bucket=self._name, Key=self._key(key), Body=body)

    def has(self, key: str) -> bool:
        try:
            self._client.head_object(Bucket=self._name, Key=self._key(key))
        except ClientError:
            return False
        return True

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self._name, Key=self._key(key))

    def empty(self) -> None:
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name):
            for found in page.get("Contents", []):
                self._client.delete_object(Bucket=self._name, Key=found["Key"])

    def keys(self, prefix: str) -> list[str]:
        found = self._client.list_objects_v2(Bucket=self._name, Prefix=self._key(prefix))
        return [each["Key"] for each in found.get("Contents", [])]

    def _key(self, key: str) -> str:
        return f"{self._prefix}/{key}".lstrip("/")
