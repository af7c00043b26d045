"""KubeRay, as far as RayJobs of the chart need it: clusters, their pods, submitters, states and deletion."""

import time
from datetime import UTC, datetime

from tests.kube.played.nodes import Nodes
from tests.kube.played.objects import Json, Objects, is_ready, labels_of, name_of, owner_of, phase_of, space_of, suffix
from tests.pods.kubelet import ray_pod, submitter_pod

FINALIZER = "ray.io/rayjob-finalizer"
TOKEN = "0123456789abcdef" * 4


class KubeRay:
    """The operator; Ray's autoscaler sees work where a driver runs."""

    def __init__(self, objects: Objects, nodes: Nodes) -> None:
        self._objects, self._nodes = objects, nodes

    def tick(self) -> None:
        for job in self._objects.now["RayJob"]:
            self._ray_job(job)
        for cluster in self._objects.now["RayCluster"]:
            self._ray_cluster(cluster)

    def _ray_job(self, job: Json) -> None:
        metadata, status = job["metadata"], job.get("status", {})
        state = status.get("jobDeploymentStatus", "")
        if "deletionTimestamp" in metadata:
            if FINALIZER in metadata.get("finalizers", ()):
                kept = [each for each in metadata["finalizers"] if each != FINALIZER]
                self._objects.patch(job, {"metadata": {"finalizers": kept or None}})
            return
        cluster = self._objects.find("RayCluster", job, f"{metadata['name']}-00001")
        if not state:
            self._objects.patch(job, {"metadata": {"finalizers": [FINALIZER]}})
            made = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "spec": job["spec"]["rayClusterSpec"]}
            made["metadata"] = {"name": f"{metadata['name']}-00001", "ownerReferences": [owner_of(job)]}
            made["metadata"]["labels"] = {"ray.io/originated-from-cr-name": metadata["name"]}
            self._objects.create(job, made)
            self._objects.status(
                job, {"jobDeploymentStatus": "Initializing", "rayClusterName": made["metadata"]["name"]}
            )
        elif state in ("Complete", "Failed"):
            if cluster and time.time() > _seconds(status["endTime"]) + job["spec"]["ttlSecondsAfterFinished"] / 10:
                self._objects.delete(cluster)
        elif cluster:
            self._follow(job, cluster)

    def _follow(self, job: Json, cluster: Json) -> None:
        """A job whose cluster is there: its submitter, its state."""
        ray = cluster.get("status", {})
        state: Json = {"rayClusterStatus": ray, "jobDeploymentStatus": "Initializing"}
        submitters = [
            pod
            for pod in self._objects.now["Pod"]
            if labels_of(pod).get("batch.kubernetes.io/job-name") == name_of(job)
        ]
        submitters = [pod for pod in submitters if space_of(pod) == space_of(job)]
        going = [pod for pod in submitters if phase_of(pod) != "Failed"]
        if not going and ray.get("state") == "ready":
            self._submit(job)
        if submitters:
            state |= {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
        if any(phase_of(pod) == "Succeeded" for pod in going):
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            state |= {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED", "endTime": now}
        if any(job["status"].get(key) != value for key, value in state.items()):
            self._objects.status(job, {**job["status"], **state})

    def _submit(self, job: Json) -> None:
        made = submitter_pod(job, f"{name_of(job)}-head", TOKEN)
        labels = {"batch.kubernetes.io/job-name": name_of(job), "batch.kubernetes.io/controller-uid": "1"}
        made["metadata"] |= {"name": f"{name_of(job)}-{suffix()}", "ownerReferences": [owner_of(job)]}
        made["metadata"]["labels"] = {**made["metadata"]["labels"], **labels}
        self._objects.create(job, made)

    def _ray_cluster(self, cluster: Json) -> None:
        if "deletionTimestamp" in cluster["metadata"] or self._owner_goes(cluster):
            return
        name, spec = name_of(cluster), cluster["spec"]
        if not self._objects.find("Secret", cluster, name):
            made: Json = {"apiVersion": "v1", "kind": "Secret", "stringData": {"auth_token": TOKEN}}
            self._objects.create(cluster, {**made, "metadata": {"name": name, "ownerReferences": [owner_of(cluster)]}})
            service: Json = {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 8265}]}}
            metadata = {"name": f"{name}-head-svc", "ownerReferences": [owner_of(cluster)]}
            self._objects.create(cluster, {**service, "metadata": metadata})
        said = ""
        pods = [pod for pod in self._objects.now["Pod"] if labels_of(pod).get("ray.io/cluster") == name]
        going = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        heads = [pod for pod in going if labels_of(pod)["ray.io/node-type"] == "head"]
        workers = [pod for pod in going if pod not in heads]
        if not heads and not (self._objects.faults.lost_heads_stay and "status" in cluster):
            said = self._ray_pod(cluster, "head", spec["headGroupSpec"])
        wanted = self._wanted_workers(cluster)
        for group in spec["workerGroupSpecs"]:
            if len(workers) < wanted:
                said = said or self._ray_pod(cluster, group["groupName"], group)
        ready = len([pod for pod in workers if is_ready(pod)])
        can_begin = ready >= min(wanted, self._first_workers(cluster)) and any(is_ready(pod) for pod in heads)
        status: Json = {"readyWorkerReplicas": ready, "desiredWorkerReplicas": wanted}
        status |= {"state": "ready"} if can_begin else {}
        status["conditions"] = [_replica_failure(said)]
        if any(cluster.get("status", {}).get(key) != value for key, value in status.items() if key != "conditions") or (
            _messages(cluster.get("status", {})) != [said]
        ):
            self._objects.status(cluster, status)

    def _first_workers(self, cluster: Json) -> int:
        return sum(group["replicas"] for group in cluster["spec"]["workerGroupSpecs"])

    def _wanted_workers(self, cluster: Json) -> int:
        """Its replicas; with Ray's autoscaler all, once there is work."""
        groups = cluster["spec"]["workerGroupSpecs"]
        has_work = any(driver.cluster == name_of(cluster) for driver in self._nodes.drivers.values())
        scales = cluster["spec"].get("enableInTreeAutoscaling") and has_work
        return sum(group["maxReplicas" if scales else "replicas"] for group in groups)

    def _owner_goes(self, found: Json) -> bool:
        uids = {ref["uid"] for ref in found["metadata"].get("ownerReferences", [])}
        owners = [job for job in self._objects.now["RayJob"] if job["metadata"]["uid"] in uids]
        return not owners or "deletionTimestamp" in owners[0]["metadata"]

    def _ray_pod(self, cluster: Json, group: str, spec: Json) -> str:
        """Create a pod; returns what the API server says against it."""
        made = ray_pod(f"{name_of(cluster)}-{group}-{suffix()}", spec, f"{name_of(cluster)}-head-svc", TOKEN)
        node_type = "worker" if "groupName" in spec else "head"
        labels = {"ray.io/cluster": name_of(cluster), "ray.io/node-type": node_type, "ray.io/group": group}
        made["metadata"] |= {"labels": {**made["metadata"]["labels"], **labels}, "ownerReferences": [owner_of(cluster)]}
        return self._objects.create(cluster, made, refusable=True)


def _replica_failure(said: str) -> Json:
    """KubeRay's condition of a RayCluster whose pods are refused."""
    reason = "FailedCreateWorkerPod" if said else "AllPodsCreated"
    condition = {"type": "ReplicaFailure", "status": str(bool(said)), "reason": reason, "message": said}
    return {**condition, "lastTransitionTime": "2025-01-01T00:00:00Z"}


def _messages(status: Json) -> list[str]:
    return [condition["message"] for condition in status.get("conditions", [])]


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()
