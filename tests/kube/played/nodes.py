"""Two nodes with their kubelet and the scheduler: pods are bound, run or are said to, and end."""

import base64
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.kube.kubelet import Kubelet, Log
from tests.kube.played.driver import PlayedDriver
from tests.kube.played.objects import (
    CORE,
    Json,
    Objects,
    is_ready,
    labels_of,
    name_of,
    path_to,
    phase_of,
    space_of,
    stamp,
)
from tests.pods.kubelet import is_absent, resolved

NODES = ("node-a", "node-b")
IMAGES = {"histoseg-train:0.1.0", "histoseg-data:0.1.0"}  # What can be pulled


@dataclass(kw_only=True)
class Running:
    """A pod on a node.

    Attributes:
        process: Its process, where it has one.
        log: The file of that process's output; how much of it is in the kubelet's log.
    """

    log: Log
    process: "subprocess.Popen[bytes] | None" = None
    output: Path | None = None
    ended_at: float = 0.0


class Nodes:
    """Both nodes; `store` has the variables of an S3 server's clients, for pods that use the release's store."""

    def __init__(self, objects: Objects, kubelet: Kubelet, store: Mapping[str, str], folder: Path) -> None:
        self._objects, self._kubelet, self._store, self._folder = objects, kubelet, dict(store), folder
        self.pods: dict[str, Running] = {}  # By uid
        self.drivers: dict[str, PlayedDriver] = {}  # By the submitter pod's uid

    def join(self) -> None:
        """Have the API server know them; their kubelet is the same."""
        for name in NODES:
            node = self._kubelet.node
            node["metadata"]["name"] = name
            capacity = {"cpu": "32", "memory": "64Gi", "pods": "100"}
            node["status"] |= {"capacity": capacity, "allocatable": capacity}
            node["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
            self._objects.do("POST", f"{CORE}/nodes", node)
            self._objects.do(
                "PATCH", f"{CORE}/nodes/{name}", {"spec": {"taints": None}}
            )  # Admission takes it for not ready

    def tick(self) -> None:
        for pod in self._objects.now["Pod"]:
            self._pod(pod)

    def close(self) -> None:
        """End the processes of pods."""
        for pod in self.pods.values():
            _end(pod)

    def _pod(self, pod: Json) -> None:
        uid, node = pod["metadata"]["uid"], pod["spec"].get("nodeName")
        if "deletionTimestamp" in pod["metadata"]:
            self._end(pod)
        elif not node:
            self._schedule(pod)
        elif uid in self.pods:
            self._look_after(pod, self.pods[uid])
        elif phase_of(pod) not in ("Succeeded", "Failed") and self._may_start(pod):
            self._start(pod)

    def _schedule(self, pod: Json) -> None:
        nodes = self._objects.api.get(f"{CORE}/nodes")["items"]
        fit = [name_of(node) for node in nodes if name_of(node) in NODES and not node["spec"].get("unschedulable")]
        fit = sorted(NODES) if self._objects.faults.ignores_cordons else sorted(fit)
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name_of(pod)}}
        target = {"apiVersion": "v1", "kind": "Node", "name": fit[0]}
        self._objects.do("POST", f"{path_to(pod)}/binding", {**binding, "target": target})

    def _may_start(self, pod: Json) -> bool:
        """Whether its image and its Secrets are there; otherwise its status says what is not."""
        (container,) = pod["spec"]["containers"]
        if container["image"] not in IMAGES:
            why = {"reason": "ErrImagePull", "message": f"failed to pull {container['image']}: not found"}
        else:
            keys = [each["valueFrom"]["secretKeyRef"] for each in container.get("env", []) if "valueFrom" in each]
            needed = [key["name"] for key in keys if not key.get("optional")]
            absent = [name for name in needed if not self._objects.find("Secret", pod, name)]
            why = (
                {"reason": "CreateContainerConfigError", "message": f'secret "{absent[0]}" not found'} if absent else {}
            )
        if why and _waiting(pod) != why:
            self._report(pod, "Pending", {"waiting": why})
        return not why

    def _start(self, pod: Json) -> None:
        (container,) = pod["spec"]["containers"]
        started = Running(log=Log(lines=[], over=False))
        self.pods[pod["metadata"]["uid"]] = started
        self._kubelet.logs[name_of(pod)] = started.log
        if container["name"] == "ray-job-submitter":
            self.drivers[pod["metadata"]["uid"]] = PlayedDriver(
                entrypoint=container["args"][0].replace("$$", "$"),
                cluster=self._cluster_of(pod),
                store=self._store,
                faults=self._objects.faults,
                log=started.log,
            )
        elif container["name"] not in ("seaweedfs", "ray-head", "ray-worker"):
            self._run(pod, started)
        self._report(pod, "Running", {"running": {"startedAt": stamp()}})

    def _cluster_of(self, submitter: Json) -> str:
        return f"{labels_of(submitter)['batch.kubernetes.io/job-name']}-00001"

    def _run(self, pod: Json, started: Running) -> None:
        """A command of the data image as a process here."""
        (container,) = pod["spec"]["containers"]
        held = {
            name_of(each): {key: _decoded(text) for key, text in each.get("data", {}).items()}
            for each in self._objects.now["Secret"]
            if space_of(each) == space_of(pod)
        }
        variables = [each for each in container.get("env", []) if not is_absent(each, held)]
        given = {each["name"]: resolved(each, held)["value"] for each in variables}
        # Its Service's name and its own key mean nothing to the store that is there.
        given |= {name: self._store["AWS_ENDPOINT_URL"] for name in given if name.startswith("AWS_ENDPOINT_URL")}
        command = [*container["command"], *container.get("args", [])]
        programs = {"histoseg": [sys.executable, "-m", "histoseg.cli"], "python": [sys.executable]}
        started.output = self._folder / f"{pod['metadata']['uid']}.log"
        with started.output.open("wb") as output:
            started.process = subprocess.Popen(
                [*programs[command[0]], *command[1:]],
                env={**os.environ, **given, **self._store},
                cwd=self._folder,
                stdout=output,
                stderr=output,
            )

    def _look_after(self, pod: Json, running: Running) -> None:
        uid = pod["metadata"]["uid"]
        if running.output:
            lines = running.output.read_text().splitlines()
            running.log.lines += [(stamp(), line) for line in lines[len(running.log.lines) :]]
        code = running.process.poll() if running.process else None
        if uid in self.drivers:
            code = self._drive(pod, self.drivers[uid])
        if code is not None:
            running.log.over = True
            ended = {"terminated": {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}}
            self._report(pod, "Failed" if code else "Succeeded", ended)
            self.drivers.pop(uid, None)
            self.pods.pop(uid)

    def _drive(self, pod: Json, driver: PlayedDriver) -> int | None:
        ours = [each for each in self._objects.now["Pod"] if labels_of(each).get("ray.io/cluster") == driver.cluster]
        ready = [each for each in ours if is_ready(each) and "deletionTimestamp" not in each["metadata"]]
        heads = [each["metadata"]["uid"] for each in ready if labels_of(each)["ray.io/node-type"] == "head"]
        workers = [each["metadata"]["uid"] for each in ready if each["metadata"]["uid"] not in heads]
        return driver.tick(heads, workers)

    def _end(self, pod: Json) -> None:
        """A pod that is being deleted ends after a while: a worker's takes its preStop hook's time."""
        running = self.pods.setdefault(pod["metadata"]["uid"], Running(log=Log(lines=[])))
        running.ended_at = running.ended_at or time.monotonic()
        grace_s = self._objects.faults.end_s if labels_of(pod).get("ray.io/node-type") == "worker" else 0.2
        if time.monotonic() < running.ended_at + grace_s:
            return
        _end(running)
        self.drivers.pop(pod["metadata"]["uid"], None)
        self.pods.pop(pod["metadata"]["uid"])
        self._kubelet.logs.pop(name_of(pod), None)
        self._objects.do("DELETE", path_to(pod), {"gracePeriodSeconds": 0})

    def _report(self, pod: Json, phase: str, state: Json) -> None:
        (container,) = pod["spec"]["containers"]
        is_running = phase == "Running"
        of_container = {"name": container["name"], "image": container["image"], "ready": is_running, "state": state}
        of_container |= {"restartCount": 0, "imageID": ""}
        types = ("PodScheduled", "Ready", "ContainersReady")
        conditions = [{"type": each, "status": str(each == "PodScheduled" or is_running)} for each in types]
        self._objects.status(pod, {"phase": phase, "conditions": conditions, "containerStatuses": [of_container]})


def _waiting(pod: Json) -> Json:
    statuses = pod.get("status", {}).get("containerStatuses", [])
    found: Json = statuses[0]["state"].get("waiting", {}) if statuses else {}
    return found


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()


def _end(running: Running) -> None:
    running.log.over = True
    if running.process and running.process.poll() is None:
        running.process.kill()
        running.process.wait()
