"""The controllers of a cluster and a kubelet with two nodes, as tests play them over a real API server.

Unlike those of `tests.kube.lab`, which follow a test's script, they go on by themselves: namespaces, quotas, garbage,
the scheduler, a StatefulSet and its volume, KubeRay's RayJobs and RayClusters. Images are not pulled: a pod of Ray is
only said to run, its job is a `PlayedDriver`, and any other pod's command runs as a process of this machine, on a real
S3 server.
"""

import base64
import contextlib
import json
import os
import secrets
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.kube.api_server import RealApiServer
from tests.kube.driver import Bucket, PlayedDriver
from tests.kube.kubelet import Kubelet, Log
from tests.kube.lab import MERGE
from tests.pods.kubelet import is_absent, ray_pod, resolved, submitter_pod

Json = dict[str, Any]

TICK_S = 0.1
NODES = ("node-a", "node-b")
TOKEN = "0123456789abcdef" * 4
RAY, CORE, APPS = "/apis/ray.io/v1", "/api/v1", "/apis/apps/v1"
FINALIZER = "ray.io/rayjob-finalizer"
# What is looked at, and what is deleted with a namespace or an owner: its path below a namespace
KINDS = {
    "RayJob": f"{RAY}/rayjobs",
    "RayCluster": f"{RAY}/rayclusters",
    "StatefulSet": f"{APPS}/statefulsets",
    "Pod": f"{CORE}/pods",
    "Service": f"{CORE}/services",
    "Secret": f"{CORE}/secrets",
    "PersistentVolumeClaim": f"{CORE}/persistentvolumeclaims",
    "ResourceQuota": f"{CORE}/resourcequotas",
    "ServiceAccount": f"{CORE}/serviceaccounts",
    "ConfigMap": f"{CORE}/configmaps",
    "Role": "/apis/rbac.authorization.k8s.io/v1/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/rolebindings",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/networkpolicies",
    "CronJob": "/apis/batch/v1/cronjobs",
}
OWNED = ("RayCluster", "Pod", "Service", "Secret")  # Kinds that have owners here
CARED_FOR = (*OWNED, "RayJob", "StatefulSet", "PersistentVolumeClaim", "ResourceQuota")


@dataclass(kw_only=True)
class Faults:
    """How the cluster misbehaves.

    Attributes:
        lost_heads_stay: A head that is deleted does not come back.
        writes_twice: A driver that goes on writes the records of its predecessor again.
        loses_records: A driver that goes on deletes one.
        end_s: How long a worker takes to end when it is deleted.
        kept_kinds: Kinds that the garbage collector leaves.
        claims_stay: A deleted volume claim is never let go.
        ignores_cordons: The scheduler uses nodes that are not to be used.
    """

    lost_heads_stay: bool = False
    writes_twice: bool = False
    loses_records: bool = False
    end_s: float = 0.5
    kept_kinds: frozenset[str] = frozenset()
    claims_stay: bool = False
    ignores_cordons: bool = False


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


class PlayedCluster:
    """The controllers; `tick` is a step of all of them, `running` has a thread do it.

    Args:
        prefix: Of the names of the namespaces that they care for.
        store: The variables of an S3 server's clients, for pods that use the release's store.
        images: What can be pulled.
    """

    def __init__(
        self, api: RealApiServer, kubelet: Kubelet, prefix: str, store: Mapping[str, str], folder: Path
    ) -> None:
        self.api, self.kubelet, self.prefix, self.store, self.folder = api, kubelet, prefix, dict(store), folder
        self.images: set[str] = {"histoseg-train:0.1.0", "histoseg-data:0.1.0"}
        self.faults = Faults()
        self.pods: dict[str, Running] = {}  # By uid
        self.drivers: dict[str, PlayedDriver] = {}  # By the submitter pod's uid
        self.errors: list[str] = []
        self._now: dict[str, list[Json]] = {}
        self._known: set[str] = set()  # Uids of namespaces that have their account

    def add_nodes(self) -> None:
        """Two nodes, whose kubelet is the same."""
        for name in NODES:
            node = self.kubelet.node
            node["metadata"]["name"] = name
            capacity = {"cpu": "32", "memory": "64Gi", "pods": "100"}
            node["status"] |= {"capacity": capacity, "allocatable": capacity}
            node["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
            self._do("POST", f"{CORE}/nodes", node)
            self._do("PATCH", f"{CORE}/nodes/{name}", {"spec": {"taints": None}})  # Admission takes it for not ready

    @contextlib.contextmanager
    def running(self) -> Iterator["PlayedCluster"]:
        """With a thread that has them go on."""
        over = threading.Event()

        def go_on() -> None:
            while not over.wait(TICK_S):
                try:
                    self.tick()
                except Exception:  # Told at the end; a cluster whose controllers die would tell less
                    self.errors.append(traceback.format_exc())

        thread = threading.Thread(target=go_on, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join()
            for pod in self.pods.values():
                _end(pod)

    def tick(self) -> None:
        """One step of every controller."""
        self._now = {kind: self._list(kind) for kind in CARED_FOR}
        for namespace in self.api.get(f"{CORE}/namespaces")["items"]:
            if namespace["metadata"]["name"].startswith(self.prefix):
                self._namespace(namespace)
        for quota in self._now["ResourceQuota"]:
            self._quota(quota)
        for claim in self._now["PersistentVolumeClaim"]:
            self._claim(claim)
        for stateful in self._now["StatefulSet"]:
            self._stateful_set(stateful)
        for job in self._now["RayJob"]:
            self._ray_job(job)
        for cluster in self._now["RayCluster"]:
            self._ray_cluster(cluster)
        self._collect_garbage()
        for pod in self._now["Pod"]:
            self._pod(pod)

    # Kubernetes' own controllers

    def _namespace(self, namespace: Json) -> None:
        name, uid = namespace["metadata"]["name"], namespace["metadata"]["uid"]
        if "deletionTimestamp" in namespace["metadata"]:
            left = [found for kind in KINDS for found in self._list(kind, name)]
            for found in left:
                self._delete(found)
            if not left:
                path = f"{CORE}/namespaces/{name}"
                self._do("PUT", f"{path}/finalize", {**namespace, "spec": {"finalizers": []}})
        elif uid not in self._known:
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
            self._do("POST", f"{CORE}/namespaces/{name}/serviceaccounts", account)
            self._known.add(uid)

    def _quota(self, quota: Json) -> None:
        here = [pod for pod in self._now["Pod"] if _space(pod) == _space(quota)]
        used = {"pods": str(len([pod for pod in here if _phase(pod) not in ("Succeeded", "Failed")]))}
        if quota.get("status", {}) != (status := {"hard": quota["spec"]["hard"], "used": used}):
            self._status(quota, status)

    def _claim(self, claim: Json) -> None:
        if "deletionTimestamp" in claim["metadata"]:
            if not self.faults.claims_stay:
                Bucket("histoseg", "", self.store).empty()  # What is on a volume goes with it
                self._patch(claim, {"metadata": {"finalizers": None}})
        elif _phase(claim) != "Bound":
            self._patch(claim, {"metadata": {"finalizers": ["kubernetes.io/pvc-protection"]}})
            self._status(claim, {"phase": "Bound"})

    def _stateful_set(self, stateful: Json) -> None:
        metadata, spec = stateful["metadata"], stateful["spec"]
        name = f"{metadata['name']}-0"
        (claim,) = spec["volumeClaimTemplates"]
        labels = spec["selector"]["matchLabels"]
        wanted = {**claim, "metadata": {"name": f"{claim['metadata']['name']}-{name}", "labels": labels}}
        if not self._find("PersistentVolumeClaim", stateful, wanted["metadata"]["name"]):
            self._create(stateful, wanted)
        pod = self._find("Pod", stateful, name)
        if pod is None:
            made = {**spec["template"], "apiVersion": "v1", "kind": "Pod"}
            made["metadata"] = {**made["metadata"], "name": name, "ownerReferences": [_owner(stateful)]}
            volume = {
                "name": claim["metadata"]["name"],
                "persistentVolumeClaim": {"claimName": wanted["metadata"]["name"]},
            }
            made["spec"] = {**made["spec"], "volumes": [*made["spec"]["volumes"], volume]}
            self._create(stateful, made)
        ready = int(pod is not None and _is_ready(pod))
        counts = dict.fromkeys(("readyReplicas", "availableReplicas", "currentReplicas", "updatedReplicas"), ready)
        revision = {"currentRevision": "1", "updateRevision": "1", "observedGeneration": metadata["generation"]}
        if (status := {"replicas": int(pod is not None), **counts, **revision}) != stateful.get("status"):
            self._status(stateful, status)

    def _collect_garbage(self) -> None:
        uids = {found["metadata"]["uid"] for kind in self._now for found in self._now[kind]}
        for found in [found for kind in OWNED for found in self._now[kind] if kind not in self.faults.kept_kinds]:
            owners = found["metadata"].get("ownerReferences", [])
            is_orphan = owners and not any(owner["uid"] in uids for owner in owners)
            if is_orphan or any(owner["uid"] in self._in_foreground() for owner in owners):
                self._delete(found)
        for found in [*self._now["RayJob"], *self._now["RayCluster"]]:
            if found["metadata"]["uid"] in self._in_foreground() and not self._owned(found):
                kept = [each for each in found["metadata"]["finalizers"] if each != "foregroundDeletion"]
                self._patch(found, {"metadata": {"finalizers": kept or None}})

    def _in_foreground(self) -> set[str]:
        """Objects that go after what they own."""
        owners = [*self._now["RayJob"], *self._now["RayCluster"]]
        return {
            each["metadata"]["uid"] for each in owners if "foregroundDeletion" in each["metadata"].get("finalizers", ())
        }

    def _owned(self, owner: Json) -> list[Json]:
        uid = owner["metadata"]["uid"]
        kinds = [kind for kind in OWNED if kind not in self.faults.kept_kinds]
        found = [each for kind in kinds for each in self._now[kind]]
        return [each for each in found if uid in [ref["uid"] for ref in each["metadata"].get("ownerReferences", [])]]

    # KubeRay

    def _ray_job(self, job: Json) -> None:
        metadata, status = job["metadata"], job.get("status", {})
        state = status.get("jobDeploymentStatus", "")
        if "deletionTimestamp" in metadata:
            if FINALIZER in metadata.get("finalizers", ()):
                kept = [each for each in metadata["finalizers"] if each != FINALIZER]
                self._patch(job, {"metadata": {"finalizers": kept or None}})
            return
        cluster = self._find("RayCluster", job, f"{metadata['name']}-00001")
        if not state:
            self._patch(job, {"metadata": {"finalizers": [FINALIZER]}})
            made = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "spec": job["spec"]["rayClusterSpec"]}
            made["metadata"] = {"name": f"{metadata['name']}-00001", "ownerReferences": [_owner(job)]}
            made["metadata"]["labels"] = {"ray.io/originated-from-cr-name": metadata["name"]}
            self._create(job, made)
            self._status(job, {"jobDeploymentStatus": "Initializing", "rayClusterName": made["metadata"]["name"]})
        elif state in ("Complete", "Failed"):
            if cluster and time.time() > _seconds(status["endTime"]) + job["spec"]["ttlSecondsAfterFinished"] / 10:
                self._delete(cluster)
        elif cluster:
            self._follow(job, cluster)

    def _follow(self, job: Json, cluster: Json) -> None:
        """A job whose cluster is there: its submitter, its state."""
        ray = cluster.get("status", {})
        state: Json = {"rayClusterStatus": ray, "jobDeploymentStatus": "Initializing"}
        submitters = [pod for pod in self._now["Pod"] if _labels(pod).get("batch.kubernetes.io/job-name") == _name(job)]
        submitters = [pod for pod in submitters if _space(pod) == _space(job)]
        going = [pod for pod in submitters if _phase(pod) != "Failed"]
        if not going and ray.get("state") == "ready":
            self._submit(job)
        if submitters:
            state |= {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
        if any(_phase(pod) == "Succeeded" for pod in going):
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            state |= {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED", "endTime": now}
        if any(job["status"].get(key) != value for key, value in state.items()):
            self._status(job, {**job["status"], **state})

    def _submit(self, job: Json) -> None:
        made = submitter_pod(job, f"{_name(job)}-head", TOKEN)
        labels = {"batch.kubernetes.io/job-name": _name(job), "batch.kubernetes.io/controller-uid": "1"}
        made["metadata"] |= {"name": f"{_name(job)}-{_suffix()}", "ownerReferences": [_owner(job)]}
        made["metadata"]["labels"] = {**made["metadata"]["labels"], **labels}
        self._create(job, made)

    def _ray_cluster(self, cluster: Json) -> None:
        if "deletionTimestamp" in cluster["metadata"] or self._owner_goes(cluster):
            return
        name, spec = _name(cluster), cluster["spec"]
        if not self._find("Secret", cluster, name):
            made: Json = {"apiVersion": "v1", "kind": "Secret", "stringData": {"auth_token": TOKEN}}
            self._create(cluster, {**made, "metadata": {"name": name, "ownerReferences": [_owner(cluster)]}})
            service: Json = {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 8265}]}}
            metadata = {"name": f"{name}-head-svc", "ownerReferences": [_owner(cluster)]}
            self._create(cluster, {**service, "metadata": metadata})
        said = ""
        pods = [pod for pod in self._now["Pod"] if _labels(pod).get("ray.io/cluster") == name]
        going = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        heads = [pod for pod in going if _labels(pod)["ray.io/node-type"] == "head"]
        workers = [pod for pod in going if pod not in heads]
        if not heads and not (self.faults.lost_heads_stay and "status" in cluster):
            said = self._ray_pod(cluster, "head", spec["headGroupSpec"])
        wanted = self._wanted_workers(cluster)
        for group in spec["workerGroupSpecs"]:
            if len(workers) < wanted:
                said = said or self._ray_pod(cluster, group["groupName"], group)
        ready = len([pod for pod in workers if _is_ready(pod)])
        is_ready = ready >= min(wanted, self._first_workers(cluster)) and any(_is_ready(pod) for pod in heads)
        status: Json = {"readyWorkerReplicas": ready, "desiredWorkerReplicas": wanted}
        status |= {"state": "ready"} if is_ready else {}
        status["conditions"] = [_replica_failure(said)]
        if any(cluster.get("status", {}).get(key) != value for key, value in status.items() if key != "conditions") or (
            _messages(cluster.get("status", {})) != [said]
        ):
            self._status(cluster, status)

    def _first_workers(self, cluster: Json) -> int:
        return sum(group["replicas"] for group in cluster["spec"]["workerGroupSpecs"])

    def _wanted_workers(self, cluster: Json) -> int:
        """Its replicas; with Ray's autoscaler all, once there is work."""
        groups = cluster["spec"]["workerGroupSpecs"]
        has_work = any(driver.cluster == _name(cluster) for driver in self.drivers.values())
        scales = cluster["spec"].get("enableInTreeAutoscaling") and has_work
        return sum(group["maxReplicas" if scales else "replicas"] for group in groups)

    def _owner_goes(self, found: Json) -> bool:
        uids = {ref["uid"] for ref in found["metadata"].get("ownerReferences", [])}
        owners = [job for job in self._now["RayJob"] if job["metadata"]["uid"] in uids]
        return not owners or "deletionTimestamp" in owners[0]["metadata"]

    def _ray_pod(self, cluster: Json, group: str, spec: Json) -> str:
        """Create a pod; returns what the API server says against it."""
        made = ray_pod(f"{_name(cluster)}-{group}-{_suffix()}", spec, f"{_name(cluster)}-head-svc", TOKEN)
        node_type = "worker" if "groupName" in spec else "head"
        labels = {"ray.io/cluster": _name(cluster), "ray.io/node-type": node_type, "ray.io/group": group}
        made["metadata"] |= {"labels": {**made["metadata"]["labels"], **labels}, "ownerReferences": [_owner(cluster)]}
        return self._create(cluster, made, refusable=True)

    # Scheduler and kubelet

    def _pod(self, pod: Json) -> None:
        uid, node = pod["metadata"]["uid"], pod["spec"].get("nodeName")
        if "deletionTimestamp" in pod["metadata"]:
            self._end(pod)
        elif not node:
            self._schedule(pod)
        elif uid in self.pods:
            self._look_after(pod, self.pods[uid])
        elif _phase(pod) not in ("Succeeded", "Failed") and self._may_start(pod):
            self._start(pod)

    def _schedule(self, pod: Json) -> None:
        nodes = self.api.get(f"{CORE}/nodes")["items"]
        fit = [_name(node) for node in nodes if _name(node) in NODES and not node["spec"].get("unschedulable")]
        fit = sorted(NODES) if self.faults.ignores_cordons else sorted(fit)
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": _name(pod)}}
        target = {"apiVersion": "v1", "kind": "Node", "name": fit[0]}
        self._do("POST", f"{_path(pod)}/binding", {**binding, "target": target})

    def _may_start(self, pod: Json) -> bool:
        """Whether its image and its Secrets are there; otherwise its status says what is not."""
        (container,) = pod["spec"]["containers"]
        if container["image"] not in self.images:
            why = {"reason": "ErrImagePull", "message": f"failed to pull {container['image']}: not found"}
        else:
            keys = [each["valueFrom"]["secretKeyRef"] for each in container.get("env", []) if "valueFrom" in each]
            needed = [key["name"] for key in keys if not key.get("optional")]
            absent = [name for name in needed if not self._find("Secret", pod, name)]
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
        self.kubelet.logs[_name(pod)] = started.log
        if container["name"] == "ray-job-submitter":
            self.drivers[pod["metadata"]["uid"]] = PlayedDriver(
                entrypoint=container["args"][0].replace("$$", "$"),
                cluster=self._cluster_of(pod),
                store=self.store,
                faults=self.faults,
                log=started.log,
            )
        elif container["name"] not in ("seaweedfs", "ray-head", "ray-worker"):
            self._run(pod, started)
        self._report(pod, "Running", {"running": {"startedAt": _now()}})

    def _cluster_of(self, submitter: Json) -> str:
        return f"{_labels(submitter)['batch.kubernetes.io/job-name']}-00001"

    def _run(self, pod: Json, started: Running) -> None:
        """A command of the data image as a process here."""
        (container,) = pod["spec"]["containers"]
        held = {
            _name(each): {key: _decoded(text) for key, text in each.get("data", {}).items()}
            for each in self._now["Secret"]
            if _space(each) == _space(pod)
        }
        variables = [each for each in container.get("env", []) if not is_absent(each, held)]
        given = {each["name"]: resolved(each, held)["value"] for each in variables}
        # Its Service's name and its own key mean nothing to the store that is there.
        given |= {name: self.store["AWS_ENDPOINT_URL"] for name in given if name.startswith("AWS_ENDPOINT_URL")}
        command = [*container["command"], *container.get("args", [])]
        programs = {"histoseg": [sys.executable, "-m", "histoseg.cli"], "python": [sys.executable]}
        started.output = self.folder / f"{pod['metadata']['uid']}.log"
        with started.output.open("wb") as output:
            started.process = subprocess.Popen(
                [*programs[command[0]], *command[1:]],
                env={**os.environ, **given, **self.store},
                cwd=self.folder,
                stdout=output,
                stderr=output,
            )

    def _look_after(self, pod: Json, running: Running) -> None:
        uid = pod["metadata"]["uid"]
        if running.output:
            lines = running.output.read_text().splitlines()
            running.log.lines += [(_now(), line) for line in lines[len(running.log.lines) :]]
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
        ours = [each for each in self._now["Pod"] if _labels(each).get("ray.io/cluster") == driver.cluster]
        ready = [each for each in ours if _is_ready(each) and "deletionTimestamp" not in each["metadata"]]
        heads = [each["metadata"]["uid"] for each in ready if _labels(each)["ray.io/node-type"] == "head"]
        workers = [each["metadata"]["uid"] for each in ready if each["metadata"]["uid"] not in heads]
        return driver.tick(heads, workers)

    def _end(self, pod: Json) -> None:
        """A pod that is being deleted ends after a while: a worker's takes its preStop hook's time."""
        running = self.pods.setdefault(pod["metadata"]["uid"], Running(log=Log(lines=[])))
        running.ended_at = running.ended_at or time.monotonic()
        grace_s = self.faults.end_s if _labels(pod).get("ray.io/node-type") == "worker" else 0.2
        if time.monotonic() < running.ended_at + grace_s:
            return
        _end(running)
        self.drivers.pop(pod["metadata"]["uid"], None)
        self.pods.pop(pod["metadata"]["uid"])
        self.kubelet.logs.pop(_name(pod), None)
        self._do("DELETE", _path(pod), {"gracePeriodSeconds": 0})

    def _report(self, pod: Json, phase: str, state: Json) -> None:
        (container,) = pod["spec"]["containers"]
        is_ready = phase == "Running"
        of_container = {"name": container["name"], "image": container["image"], "ready": is_ready, "state": state}
        of_container |= {"restartCount": 0, "imageID": ""}
        types = ("PodScheduled", "Ready", "ContainersReady")
        conditions = [{"type": each, "status": str(each == "PodScheduled" or is_ready)} for each in types]
        self._status(pod, {"phase": phase, "conditions": conditions, "containerStatuses": [of_container]})

    # Requests

    def _list(self, kind: str, namespace: str = "") -> list[Json]:
        group, _, plural = KINDS[kind].rpartition("/")
        path = f"{group}/namespaces/{namespace}/{plural}" if namespace else KINDS[kind]
        found = self.api.get(path)
        ours = [each for each in found["items"] if each["metadata"]["namespace"].startswith(self.prefix)]
        return [{**each, "kind": kind, "apiVersion": found["apiVersion"]} for each in ours]

    def _find(self, kind: str, beside: Json, name: str) -> Json | None:
        """An object of the same namespace."""
        same = [each for each in self._now[kind] if (_space(each), _name(each)) == (_space(beside), name)]
        return same[0] if same else None

    def _create(self, beside: Json, made: Json, *, refusable: bool = False) -> str:
        group, _, plural = KINDS[made["kind"]].rpartition("/")
        said = self.api.send("POST", f"{group}/namespaces/{_space(beside)}/{plural}", made)
        if said and not refusable and "AlreadyExists" not in said and "being terminated" not in said:
            raise AssertionError(said)
        return str(json.loads(said)["message"]) if said else ""

    def _delete(self, found: Json) -> None:
        if "deletionTimestamp" not in found["metadata"]:
            self._do("DELETE", _path(found), None)

    def _patch(self, found: Json, body: Json) -> None:
        self._do("PATCH", _path(found), body)

    def _status(self, found: Json, status: Json) -> None:
        self._do("PATCH", f"{_path(found)}/status", {"status": status})

    def _do(self, method: str, path: str, body: Json | None) -> None:
        """A request; what was deleted meanwhile, or made, is no error."""
        content = MERGE if method == "PATCH" else "application/json"
        said = self.api.send(method, path, body, content)
        if said and json.loads(said)["reason"] not in ("NotFound", "AlreadyExists", "Conflict"):
            raise AssertionError(f"{method} {path}: {said}")


def _suffix() -> str:
    return secrets.token_hex(3)


def _path(found: Json) -> str:
    group, _, plural = KINDS[found["kind"]].rpartition("/")
    return f"{group}/namespaces/{_space(found)}/{plural}/{_name(found)}"


def _name(found: Json) -> str:
    return str(found["metadata"]["name"])


def _space(found: Json) -> str:
    return str(found["metadata"]["namespace"])


def _labels(found: Json) -> dict[str, str]:
    return found["metadata"].get("labels") or {}


def _phase(found: Json) -> str:
    return str(found.get("status", {}).get("phase", ""))


def _is_ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)


def _waiting(pod: Json) -> Json:
    statuses = pod.get("status", {}).get("containerStatuses", [])
    found: Json = statuses[0]["state"].get("waiting", {}) if statuses else {}
    return found


def _owner(found: Json) -> Json:
    reference = {"apiVersion": found["apiVersion"], "kind": found["kind"], "name": _name(found)}
    return {**reference, "uid": found["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True}


def _replica_failure(said: str) -> Json:
    """KubeRay's condition of a RayCluster whose pods are refused."""
    reason = "FailedCreateWorkerPod" if said else "AllPodsCreated"
    condition = {"type": "ReplicaFailure", "status": str(bool(said)), "reason": reason, "message": said}
    return {**condition, "lastTransitionTime": "2025-01-01T00:00:00Z"}


def _messages(status: Json) -> list[str]:
    return [condition["message"] for condition in status.get("conditions", [])]


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def _end(running: Running) -> None:
    running.log.over = True
    if running.process and running.process.poll() is None:
        running.process.kill()
        running.process.wait()
