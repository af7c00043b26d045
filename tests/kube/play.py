"""KubeRay, kubelet and scheduler as tests play them over a real API server: they write statuses, pods and events.

A script is a list of steps; the follower takes the next one in each of its pauses, so a test waits for nothing and
always sees the same.
"""

from collections.abc import Callable
from itertools import count
from typing import Any

from tests.kube.api_server import RealApiServer
from tests.kube.example import pod as pod_template
from tests.kube.kubelet import NODE, Kubelet, Log

READY = {"readyWorkerReplicas": 2}
MERGE = "application/merge-patch+json"
NUMBERS = count()

Step = Callable[["Play", str], None]


class Play:
    """The controllers of one namespace."""

    def __init__(self, api: RealApiServer, kubelet: Kubelet, namespace: str) -> None:
        self.api, self.kubelet, self.namespace = api, kubelet, namespace
        self.scripts: list[list[Step]] = []  # One for each RayJob in the order of their creation
        self.running: dict[str, list[Step]] = {}  # By the RayJob's uid
        self.looks_until_gone = 2  # How many pauses a deleted RayJob outlives

    def pause(self, _seconds: float = 0.0) -> None:
        """The next step of each RayJob; a deleted one goes at last, with its pods."""
        for job in self.jobs():
            name, uid = job["metadata"]["name"], job["metadata"]["uid"]
            if "deletionTimestamp" in job["metadata"]:
                self.looks_until_gone -= 1
                if self.looks_until_gone <= 0:
                    self.let_go(name)
                continue
            if uid not in self.running:
                self.running[uid] = self.scripts.pop(0) if self.scripts else []
            if self.running[uid]:
                self.running[uid].pop(0)(self, name)

    def jobs(self) -> list[dict[str, Any]]:
        return self.api.get(self._path("rayjobs"))["items"]

    def job(self, name: str) -> dict[str, Any] | None:
        """A RayJob; None if there is none."""
        return next((each for each in self.jobs() if each["metadata"]["name"] == name), None)

    def write_status(self, name: str, status: dict[str, Any]) -> None:
        self.patch(f"{self._path('rayjobs')}/{name}/status", {"status": status})

    def let_go(self, name: str) -> None:
        """Let a RayJob be deleted for good, as KubeRay's finalizer and the garbage collector do."""
        self.patch(f"{self._path('rayjobs')}/{name}", {"metadata": {"finalizers": None}})
        self.remove_pods()

    def put_pod(self, name: str, labels: dict[str, str], status: dict[str, Any], container: str = "ray") -> None:
        """Have a pod on the node."""
        template = pod_template(container, {"cpu": "1", "memory": "1Gi"}, nodeName=NODE)
        metadata = {"name": name, "labels": labels}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        said = self.api.create(pod, namespace=self.namespace)
        assert said == "" or "AlreadyExists" in said, said
        self.patch(f"{self._path('pods')}/{name}/status", {"status": status})

    def remove_pods(self) -> None:
        now = {"gracePeriodSeconds": 0}  # Otherwise the node's kubelet ends them
        for each in self.api.get(self._path("pods"))["items"]:
            assert self.api.send("DELETE", f"{self._path('pods')}/{each['metadata']['name']}", now) == ""

    def patch(self, path: str, body: dict[str, Any]) -> None:
        said = self.api.send("PATCH", path, body, MERGE)
        assert said == "", said

    def _path(self, plural: str) -> str:
        group = "apis/ray.io/v1" if plural == "rayjobs" else "api/v1"
        return f"/{group}/namespaces/{self.namespace}/{plural}"


def state(deployment: str, job: str = "", attempt: int = 1, ray_cluster: Any = (), **more: Any) -> Step:
    """KubeRay writes a RayJob's status (fields of its CRD, v1.7.0)."""
    ray_cluster = dict(ray_cluster)

    def step(play: Play, name: str) -> None:
        ray = {"readyWorkerReplicas": 0, "desiredWorkerReplicas": 2, **ray_cluster}
        fields = {"rayClusterName": f"{name}-{attempt:05}", "rayClusterStatus": ray, **more}
        play.write_status(name, {"jobDeploymentStatus": deployment, "jobStatus": job, **fields})

    return step


def ends(deployment: str = "Complete", job: str = "SUCCEEDED", **more: Any) -> Step:
    """The job's last status."""
    return state(deployment, job, ray_cluster=READY, **more)


def submitter(log: Log, number: int = 1, attempt: int = 1) -> Step:
    """KubeRay's submitter, whose log is the driver's."""

    def step(play: Play, name: str) -> None:
        pod = f"{name}-submitter-{number}"
        labels = {"batch.kubernetes.io/job-name": name, "batch.kubernetes.io/controller-uid": f"attempt-{attempt}"}
        play.kubelet.logs[play.namespace, pod] = log
        play.put_pod(pod, labels, {"phase": "Running"}, "ray-job-submitter")

    return step


def running(log: Log, number: int = 1, attempt: int = 1) -> list[Step]:
    return [state("Running", "RUNNING", attempt, READY), submitter(log, number, attempt)]


def both(*steps: Step) -> Step:
    """Several at once."""

    def step(play: Play, name: str) -> None:
        for each in steps:
            each(play, name)

    return step
