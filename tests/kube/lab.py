"""A namespace of a real API server whose KubeRay, kubelet and scheduler the tests play, seen by a user with few rights.

KubeRay is played by scripts: each look at a RayJob takes the next step of its script, so a test waits for nothing and
always sees the same. Faults and cut logs are the proxy's (`tests.kube.proxy`).
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import urllib3

from tests.kube.api_server import RealApiServer, path_of
from tests.kube.example import pod as pod_template
from tests.kube.kubelet import NODE, Kubelet, Log
from tests.kube.proxy import Asked, Proxy, serving

TEAM, USER = "team", "me"
RAYJOBS, PODS, CONFIG_MAPS = "ray.io/v1/rayjobs", "v1/pods", "v1/configmaps"
KUEUE = "apis/kueue.x-k8s.io/v1beta2"
READY = {"readyWorkerReplicas": 2}
MERGE = "application/merge-patch+json"
LATER = "2099-01-01T00:05:00Z"  # After the creation of every job
NUMBERS = count(1)
# What a researcher of the chart may do, and more that some tests need; verbs by resource and its group
RIGHTS = {
    "rayjobs": ("ray.io", ["create", "get", "list", "delete"]),
    "pods": ("", ["create", "list"]),
    "pods/log": ("", ["get"]),
    "events": ("", ["list"]),
    "configmaps": ("", ["get"]),
    "secrets": ("", ["get"]),
    "nodes": ("", ["list"]),
    "resourcequotas": ("", ["list"]),
    "namespaces": ("", ["get"]),
    "clusterqueues": ("kueue.x-k8s.io", ["get"]),
    "localqueues": ("kueue.x-k8s.io", ["get"]),
    "workloads": ("kueue.x-k8s.io", ["list"]),
}
CLEANED = ("events", "configmaps", "secrets", "resourcequotas", "localqueues", "workloads")

Step = Callable[["Lab", str], None]


@dataclass(frozen=True)
class Request:
    """A request that reached the server, its body as an object."""

    asked: Asked

    @property
    def data(self) -> Any:
        return json.loads(self.asked.body or b"null")

    @property
    def params(self) -> dict[str, str]:
        return self.asked.params

    @property
    def headers(self) -> urllib3.HTTPHeaderDict:
        return self.asked.headers


class Lab:
    """The namespace `team`, emptied for each test."""

    def __init__(self, api: RealApiServer, kubelet: Kubelet, proxy: Proxy) -> None:
        self.api, self.kubelet, self.proxy = api, kubelet, proxy
        self.url, self.faults = proxy.url, proxy.faults
        self.logs: dict[str, Log] = {}  # By pod
        self.scripts: list[list[Step]] = []  # One for each RayJob in the order of their creation
        self.running: dict[str, list[Step]] = {}  # By the RayJob's uid
        self.looks_until_gone = 2  # How often a deleted RayJob is seen before it is gone
        proxy.seen, proxy.cuts = self._advance, self._cut

    def put(self, kind: str, name: str, body: dict[str, Any], namespace: str | None = TEAM) -> None:
        """Have an object there; a pod gets the spec that a body lacks."""
        made = {"apiVersion": kind.rpartition("/")[0], **body, "metadata": {**body.get("metadata", {}), "name": name}}
        made["kind"] = KINDS[kind.rpartition("/")[2]]
        if made["kind"] == "Pod" and "spec" not in made:
            made["spec"] = pod_template("ray", {"cpu": "1", "memory": "1Gi"}, nodeName=NODE)["spec"]
        if made["kind"] == "Event":
            made["involvedObject"] = {"namespace": namespace, **made["involvedObject"]}
        path, status = path_of(made, namespace or ""), made.pop("status", None)
        said = self.api.create(made, namespace=namespace or "")
        if "AlreadyExists" in said and made["kind"] != "Pod":  # A pod's spec never changes
            self.api.send("DELETE", f"{path}/{name}")
            said = self.api.create(made, namespace=namespace or "")
        assert said == "" or made["kind"] == "Pod", said
        if status is not None:
            self.patch_at(f"{path}/{name}/status", {"status": status})

    def patch(self, name: str, **parts: Any) -> None:
        """Change a RayJob; its status is a resource of its own."""
        for end, body in (("/status", {"status": parts.pop("status", None)}), ("", parts)):
            if any(body.values()):
                self.patch_at(f"{self._path('rayjobs')}/{name}{end}", body)

    def patch_at(self, path: str, body: dict[str, Any]) -> None:
        """Change an object."""
        said = self.api.send("PATCH", path, body, MERGE)
        assert said == "", said

    def rayjob(self, name: str) -> dict[str, Any] | None:
        """A RayJob as it is stored, without the step that a look would take."""
        jobs = self.api.get(self._path("rayjobs"))["items"]
        return next((each for each in jobs if each["metadata"]["name"] == name), None)

    def continue_with(self, name: str, script: list[Step]) -> None:
        """Go on with the RayJob that is there."""
        self.running[self.rayjob(name)["metadata"]["uid"]] = script

    def let_go(self, name: str) -> None:
        """Let a RayJob be gone at once, as when KubeRay's finalizer and the garbage collector are through."""
        path = f"{self._path('rayjobs')}/{name}"
        self.api.send("DELETE", path)
        self.api.send("PATCH", path, {"metadata": {"finalizers": None}}, MERGE)

    def remove(self, plural: str, *names: str) -> None:
        """Take objects of the namespace away, all if none is named."""
        now = {"gracePeriodSeconds": 0}  # A pod of a node waits for its kubelet otherwise
        for path in [f"{self._path(plural)}/{name}" for name in names] or [self._path(plural)]:
            self.api.send("DELETE", path, now)

    def remove_cluster_queues(self) -> None:
        """Take all ClusterQueues away."""
        self.api.send("DELETE", f"/{KUEUE}/clusterqueues")

    def remove_nodes(self) -> None:
        """Take all nodes away but the kubelet's."""
        for node in self.api.get("/api/v1/nodes")["items"]:
            if node["metadata"]["name"] != NODE:
                self.api.send("DELETE", f"/api/v1/nodes/{node['metadata']['name']}")

    def remove_pods(self) -> None:
        for pod in self.api.get(self._path("pods"))["items"]:
            self.remove("pods", pod["metadata"]["name"])

    def requests(self, method: str, path_end: str, *, dry_run: bool = False) -> list[Request]:
        """The requests of this kind, or those that only try it."""
        found = [each for each in self.proxy.asked if each.method == method and each.path.endswith(path_end)]
        return [Request(each) for each in found if ("dryRun" in each.params) is dry_run]

    def refuse(self, *refused: str) -> None:
        """Let the user do all but this, such as `create pods`; the server follows within a moment."""
        rules = []
        for resource, (group, verbs) in RIGHTS.items():
            allowed = [verb for verb in verbs if f"{verb} {resource}" not in refused]
            rules += [{"apiGroups": [group], "resources": [resource], "verbs": allowed}] if allowed else []
        body = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "lab"}}
        assert (
            self.api.send("PUT", "/apis/rbac.authorization.k8s.io/v1/clusterroles/lab", {**body, "rules": rules}) == ""
        )
        rights = [f"{verb} {resource}" for resource, (_, verbs) in RIGHTS.items() for verb in verbs]
        deadline = time.monotonic() + 30
        while [right for right in rights if not self._may(right)] != [right for right in rights if right in refused]:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def clean(self) -> None:
        for job in self.api.get(self._path("rayjobs"))["items"]:
            self.let_go(job["metadata"]["name"])
        self.remove_pods()
        for plural in CLEANED:
            self.remove(plural)
        self.remove_nodes()
        self.remove_cluster_queues()

    def _may(self, right: str) -> bool:
        verb, _, resource = right.partition(" ")
        resource, _, subresource = resource.partition("/")
        asked = {"namespace": TEAM, "verb": verb, "group": RIGHTS[resource][0], "resource": resource}
        spec = {"user": USER, "resourceAttributes": {**asked, "subresource": subresource}}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        found = self.api.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
        return bool(found["status"]["allowed"])

    def _path(self, plural: str) -> str:
        groups = {"rayjobs": "apis/ray.io/v1"} | dict.fromkeys(
            ("localqueues", "workloads"), "apis/kueue.x-k8s.io/v1beta2"
        )
        group = groups.get(plural, "api/v1")
        return f"/{group}/namespaces/{TEAM}/{plural}"

    def _advance(self, path: str) -> None:
        """KubeRay's next step on the RayJob that was just looked at."""
        folder, _, name = path.rpartition("/")
        if folder != self._path("rayjobs") or (job := self.rayjob(name)) is None:
            return
        if "deletionTimestamp" in job["metadata"]:
            self.looks_until_gone -= 1
            if self.looks_until_gone <= 0:
                self.let_go(name)
                self.remove_pods()
            return
        uid = job["metadata"]["uid"]
        if uid not in self.running:
            self.running[uid] = list(self.scripts.pop(0)) if self.scripts else []
        if self.running[uid]:
            self.running[uid].pop(0)(self, name)

    def _cut(self, path: str) -> int | None:
        log = self.logs.get(path.split("/")[-2])
        return log.breaks.pop(0) if log and log.breaks else None


KINDS = {
    "rayjobs": "RayJob",
    "pods": "Pod",
    "events": "Event",
    "configmaps": "ConfigMap",
    "secrets": "Secret",
    "nodes": "Node",
    "resourcequotas": "ResourceQuota",
    "clusterqueues": "ClusterQueue",
    "localqueues": "LocalQueue",
    "workloads": "Workload",
}


@contextmanager
def lab(api: RealApiServer, kubelet: Kubelet) -> Iterator[Lab]:
    """The namespace for a test."""
    kubelet.logs.clear()
    with serving(api.url, api.pool, USER) as proxy:
        opened = Lab(api, kubelet, proxy)
        opened.logs = kubelet.logs
        try:
            yield opened
        finally:
            for log in opened.logs.values():
                log.over = True
            opened.clean()


def state(deployment: str, job: str = "", attempt: int = 1, ray_cluster: Any = (), **more: Any) -> Step:
    """KubeRay writes a RayJob's status (fields of its CRD, v1.7.0)."""
    ray_cluster = dict(ray_cluster)

    def step(lab: Lab, name: str) -> None:
        ray = {"readyWorkerReplicas": 0, "desiredWorkerReplicas": 2, **ray_cluster}
        fields = {"rayClusterName": f"{name}-{attempt:05}", "rayClusterStatus": ray, **more}
        lab.patch(name, status={"jobDeploymentStatus": deployment, "jobStatus": job, **fields})

    return step


def ends(deployment: str = "Complete", job: str = "SUCCEEDED", **more: Any) -> Step:
    """The job's last status."""
    return state(deployment, job, ray_cluster=READY, **more)


def waiting(reason: str, message: str, **more: Any) -> dict[str, Any]:
    """The status of a pod whose container does not start."""
    why = {"waiting": {"reason": reason, "message": message}}
    known = {"name": "ray", "image": "registry/none:1", "imageID": "", "ready": False, "restartCount": 0}
    return {"phase": "Pending", "containerStatuses": [{**known, "state": why, **more}]}


def ray_pod(group: str, body: dict[str, Any], attempt: int = 1) -> Step:
    """A pod of the job's Ray cluster, in a state."""

    def step(lab: Lab, name: str) -> None:
        labels = {"ray.io/cluster": f"{name}-{attempt:05}", "ray.io/group": group}
        lab.put("v1/pods", f"{name}-{group}", {"metadata": {"labels": labels}, "status": body})

    return step


def submitter(log: Log, number: int = 1, attempt: int = 1) -> Step:
    """KubeRay's submitter, whose log is the driver's."""

    def step(lab: Lab, name: str) -> None:
        pod = f"{name}-submitter-{number}"
        labels = {"batch.kubernetes.io/job-name": name, "batch.kubernetes.io/controller-uid": f"attempt-{attempt}"}
        lab.logs[pod] = log
        spec = pod_template("ray-job-submitter", {"cpu": "1", "memory": "1Gi"}, nodeName=NODE)["spec"]
        lab.put("v1/pods", pod, {"metadata": {"labels": labels}, "spec": spec, "status": {"phase": "Running"}})

    return step


def warning(about: Callable[[str], str], reason: str, message: str, at: str = LATER) -> Step:
    """An event about one of the job's objects."""

    def step(lab: Lab, name: str) -> None:
        kind = "RayJob" if about(name) == name else "RayCluster" if about(name) == f"{name}-00001" else "Pod"
        involved = {"kind": kind, "name": about(name)}
        body = {"involvedObject": involved, "type": "Warning", "reason": reason, "message": message}
        lab.put("v1/events", f"event-{next(NUMBERS)}", {**body, "lastTimestamp": at})

    return step


def both(*steps: Step) -> Step:
    """Several at once."""

    def step(lab: Lab, name: str) -> None:
        for each in steps:
            each(lab, name)

    return step


def running(log: Log, number: int = 1, attempt: int = 1) -> list[Step]:
    return [state("Running", "RUNNING", attempt, READY), submitter(log, number, attempt)]


def status_body(code: int, reason: str, message: str, **details: Any) -> str:
    """A Status object as the API server sends it."""
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
    return json.dumps({**status, "message": message, "details": details})
