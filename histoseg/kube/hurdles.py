"""Why a job does not start: what its objects' statuses and events say, as one line with a remedy."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from histoseg.kube.api import Object, noted_at
from histoseg.kube.refusals import one_line

UNPULLABLE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
UNMADE = {"CreateContainerError", "RunContainerError", "CrashLoopBackOff", "StartError"}


@dataclass(frozen=True, kw_only=True)
class Hurdle:
    """Something in a job's way.

    Attributes:
        kind: The same for the same hurdle, however its words change from look to look.
    """

    kind: str
    text: str


def of_pods(pods: Sequence[Object]) -> Hurdle | None:
    """What keeps pods from running, the first found."""
    for pod in pods:
        for hurdle in (*_of_containers(pod), *_of_scheduling(pod)):
            return hurdle
    return None


def of_ray_cluster(status: Mapping[str, object]) -> Hurdle | None:
    """What kept KubeRay from making pods, by a RayJob's status."""
    found = status.get("rayClusterStatus")
    conditions = found.get("conditions") if isinstance(found, Mapping) else None
    for condition in conditions or []:
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return _refused_pod(str(condition.get("message") or condition.get("reason") or "no reason given"))
    return None


def of_events(events: Sequence[Object], since: str) -> Hurdle | None:
    """The newest warning since a time, if any."""
    warnings = [event for event in events if event.get("type") == "Warning" and noted_at(event) >= since]
    for event in sorted(warnings, key=noted_at, reverse=True):
        reason, said = str(event.get("reason") or ""), one_line(str(event.get("message") or ""))
        if reason == "FailedScheduling":
            return _unschedulable(str(event.get("involvedObject", {}).get("name") or "a pod"), said)
        if reason in ("FailedMount", "FailedAttachVolume"):
            remedy = "create what it names, or correct the chart's values (rawData.existingClaim, store.caConfigMap)"
            return Hurdle(kind="mount", text=f"a volume cannot be mounted: {said}; {remedy}")
        if reason.startswith("Failed"):
            return _refused_pod(said)
    return None


def of_kueue(workloads: Sequence[Object], queue: str) -> Hurdle:
    """What a suspended job waits for."""
    said = ""
    for workload in workloads:
        for condition in (workload.get("status") or {}).get("conditions") or []:
            if condition.get("status") == "False" and condition.get("type") in ("QuotaReserved", "Admitted"):
                said = said or one_line(str(condition.get("message") or ""))
    waits = f"waits in Kueue's queue {queue!r}" + (f": {said}" if said else "")
    return Hurdle(kind=f"queue:{said}", text=f"{waits}; it starts by itself when there is room")


def _of_containers(pod: Object) -> Iterator[Hurdle]:
    """What keeps a pod's containers from starting."""
    status, name = pod.get("status") or {}, pod["metadata"]["name"]
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    for container in statuses:
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, said = waiting.get("reason") or "", one_line(str(waiting.get("message") or ""))
        if reason in UNPULLABLE:
            image = container.get("image") or "?"
            yield Hurdle(
                kind=f"image {image}",
                text=f"{name}: image {image} cannot be pulled ({reason}: {said}); correct images.train, or "
                f"imagePullSecrets, in the chart's values",
            )
        elif reason == "CreateContainerConfigError":
            yield Hurdle(kind=f"config {said}", text=f"{name}: {said}; {_config_remedy(said)}")
        elif reason in UNMADE:
            last = (container.get("lastState") or {}).get("terminated") or {}
            why = f", last with exit code {last.get('exitCode')} ({last.get('reason')})" if last else ""
            yield Hurdle(
                kind=f"container {reason}",
                text=f"{name}: container {container['name']} does not stay up ({reason}{why}); "
                f"`kubectl logs --previous {name} {container['name']}` tells why",
            )


def _config_remedy(said: str) -> str:
    missing_key = re.search(r"couldn't find key (\S+) in Secret (\S+)", said)
    if missing_key:
        key, secret = missing_key.groups()
        return f"add the key {key} to Secret {secret}, or correct store.accessKeyKey and secretKeyKey in the values"
    if "secret" in said.lower():
        return (
            "create that Secret in the namespace, or correct store.existingSecret or auth.existingSecret in the values"
        )
    return "create what it names, or correct the chart's values"


def _of_scheduling(pod: Object) -> Iterator[Hurdle]:
    """What keeps a pod from a node."""
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition.get("type") != "PodScheduled" or condition.get("status") != "False":
            continue
        if condition.get("reason") == "SchedulingGated":
            yield Hurdle(
                kind="gate", text=f"{pod['metadata']['name']}: waits for its scheduling gates; Kueue lifts them"
            )
        else:
            yield _unschedulable(pod["metadata"]["name"], one_line(str(condition.get("message") or "")))


def _unschedulable(pod: str, said: str) -> Hurdle:
    remedy = "it starts when there is a node; otherwise lower the group's resources, or correct its nodeSelector and"
    return Hurdle(kind="unschedulable", text=f"{pod}: fits on no node ({said}); {remedy} tolerations")


def _refused_pod(said: str) -> Hurdle:
    """A pod that Kubernetes did not let be made."""
    line = one_line(said)
    if "exceeded quota" in line:
        return Hurdle(kind="quota", text=f"{line}; wait until other jobs have ended, or ask for a larger quota")
    if "violates PodSecurity" in line:
        return Hurdle(
            kind="podsecurity", text=f"{line}; `helm upgrade` to the chart as it is shipped, whose pods may run there"
        )
    if re.search(r"serviceaccount \S+ not found", line):
        return Hurdle(kind="serviceaccount", text=f"{line}; `helm upgrade` the release, which makes it")
    return Hurdle(kind=f"refused {line}", text=f"pods cannot be made: {line}; ask who runs the cluster")
