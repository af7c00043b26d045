"""Why a job does not start, from the statuses and events of its objects, as one line with a remedy."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from histoseg.kube.objects import Condition, ContainerStatus, Event, Pod, Queued
from histoseg.kube.refusals import ADMIN, admission_remedy, one_line

UNPULLABLE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
CRASHED = {"CreateContainerError", "RunContainerError", "CrashLoopBackOff", "StartError"}


@dataclass(frozen=True, kw_only=True)
class PendingReason:
    """Why a job does not start.

    Attributes:
        kind: Stays the same while the same thing is in the way, even if the words of the text change.
    """

    kind: str
    text: str


def from_pods(pods: Sequence[Pod]) -> PendingReason | None:
    """Why pods do not run; the first reason found."""
    reasons = (reason for pod in pods for reason in (*_from_containers(pod), *_from_scheduling(pod)))
    return next(reasons, None)


def from_ray_cluster(conditions: Sequence[Condition]) -> PendingReason | None:
    """Why KubeRay could not create pods, by the conditions of the Ray cluster."""
    for condition in conditions:
        if condition.type == "ReplicaFailure" and condition.status == "True":
            return _refused_pod(condition.message or condition.reason or "no reason given")
    return None


def from_events(events: Sequence[Event], since: str) -> PendingReason | None:
    """The newest warning since a time, if it says why pods do not start."""
    warnings = [event for event in events if event.type == "Warning" and event.last_seen >= since]
    for event in sorted(warnings, key=lambda event: event.last_seen, reverse=True):
        if event.reason == "FailedScheduling":
            return _unschedulable(event.about or "a pod", event.message)
        if event.reason in ("FailedMount", "FailedAttachVolume"):
            remedy = "create it, or correct rawData.existingClaim or store.caConfigMap in the chart's values"
            return PendingReason(kind="mount", text=f"a volume cannot be mounted: {one_line(event.message)}; {remedy}")
        if event.reason.startswith("Failed"):
            return _refused_pod(event.message)
    return None


def from_kueue(workloads: Sequence[Queued], queue: str) -> PendingReason:
    """Why a job is suspended that waits in a queue of Kueue."""
    conditions = [condition for workload in workloads for condition in workload.conditions]
    messages = [
        one_line(condition.message)
        for condition in conditions
        if condition.status == "False" and condition.type in ("QuotaReserved", "Admitted") and condition.message
    ]
    said = messages[0] if messages else ""
    waits = f"waits in Kueue's queue {queue!r}" + (f": {said}" if said else "")
    return PendingReason(kind=f"queue:{said}", text=f"{waits}; it starts by itself when there is room")


def _from_containers(pod: Pod) -> Iterator[PendingReason]:
    for container in (*pod.init_containers, *pod.containers):
        reason, said = container.waiting_reason, one_line(container.waiting_message)
        if reason in UNPULLABLE:
            yield PendingReason(
                kind=f"image {container.image}",
                text=f"{pod.name}: image {container.image} cannot be pulled ({reason}: {said}); correct images.train, "
                f"or imagePullSecrets, in the chart's values",
            )
        elif reason == "CreateContainerConfigError":
            yield PendingReason(kind=f"config {said}", text=f"{pod.name}: {said}; {_config_remedy(said)}")
        elif reason in CRASHED:
            yield _crashed(pod.name, container)


def _crashed(pod: str, container: ContainerStatus) -> PendingReason:
    last = f", last with exit code {container.last_exit_code} ({container.last_reason})"
    last = last if container.last_exit_code is not None else ""
    return PendingReason(
        kind=f"container {container.waiting_reason}",
        text=f"{pod}: container {container.name} keeps stopping ({container.waiting_reason}{last}); "
        f"`kubectl logs --previous {pod} {container.name}` shows why",
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
    return "create it, or correct the chart's values"


def _from_scheduling(pod: Pod) -> Iterator[PendingReason]:
    for condition in pod.conditions:
        if condition.type != "PodScheduled" or condition.status != "False":
            continue
        if condition.reason == "SchedulingGated":
            yield PendingReason(kind="gate", text=f"{pod.name}: waits for its scheduling gates; Kueue removes them")
        else:
            yield _unschedulable(pod.name, condition.message)


def _unschedulable(pod: str, said: str) -> PendingReason:
    remedy = "it starts when a node has room; otherwise lower the group's resources, or correct its nodeSelector and"
    text = f"{pod}: fits on no node ({one_line(said)}); {remedy} tolerations"
    return PendingReason(kind="unschedulable", text=text)


def _refused_pod(said: str) -> PendingReason:
    """For a pod that Kubernetes refused to create."""
    line = one_line(said)
    remedy = admission_remedy(line)
    return PendingReason(
        kind=remedy or f"refused {line}",
        text=f"{line}; {remedy}" if remedy else f"pods cannot be created: {line}; {ADMIN}",
    )
