"""Why a job's pods do not start, from the statuses and events of its objects, as one line with a remedy."""

import re
from collections.abc import Iterator, Sequence

from histoseg.kube.objects import Condition, ContainerStatus, Event, Pod
from histoseg.kube.reasons import PodReason, grouped
from histoseg.kube.refusals import ADMIN, admission_remedy, one_line
from histoseg.runs.follow import Reason

UNPULLABLE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
CRASHED = {"CreateContainerError", "RunContainerError", "CrashLoopBackOff", "StartError"}
UNSCHEDULABLE = "unschedulable"


def from_pods(pods: Sequence[Pod]) -> list[PodReason]:
    """Why pods do not run; the first reason of each."""
    found = (next(_from_pod(pod), None) for pod in pods)
    return [reason for reason in found if reason]


def from_pod_events(events: Sequence[Event], pods: Sequence[Pod], since: str) -> list[PodReason]:
    """For each of these pods the newest warning since a time, if it says why the pod does not start."""
    names = {pod.name for pod in pods}
    newest = {event.about: event for event in events if event.about in names and _warns(event, since)}
    found = (_from_event(event, event.about) for event in newest.values())
    return [reason for reason in found if reason]


def from_ray_cluster(conditions: Sequence[Condition]) -> Reason | None:
    """Why KubeRay could not create pods, by the conditions of the Ray cluster."""
    for condition in conditions:
        if condition.type == "ReplicaFailure" and condition.status == "True":
            return grouped([_refused_pod(condition.message or condition.reason or "no reason given")])[0]
    return None


def from_events(events: Sequence[Event], since: str) -> Reason | None:
    """The newest warning about a job or its Ray cluster since a time, if it says why pods do not start."""
    warnings = [event for event in events if _warns(event, since)]
    for event in sorted(warnings, key=lambda event: event.last_seen, reverse=True):
        if reason := _from_event(event, ""):
            return grouped([reason])[0]
    return None


def _warns(event: Event, since: str) -> bool:
    return event.type == "Warning" and event.last_seen >= since


def _from_event(event: Event, pod: str) -> PodReason | None:
    if event.reason == "FailedScheduling":
        return _unschedulable(pod, event.message)
    if event.reason in ("FailedMount", "FailedAttachVolume"):
        remedy = "create it, or correct rawData.existingClaim or store.caConfigMap in the chart's values"
        text = f"a volume cannot be mounted: {one_line(event.message)}; {remedy}"
        return PodReason(pod=pod, kind="mount", text=text)
    return _refused_pod(event.message) if event.reason.startswith("Failed") else None


def _from_pod(pod: Pod) -> Iterator[PodReason]:
    yield from _from_containers(pod)
    yield from _from_scheduling(pod)


def _from_containers(pod: Pod) -> Iterator[PodReason]:
    for container in (*pod.init_containers, *pod.containers):
        reason, said = container.waiting_reason, one_line(container.waiting_message)
        if reason in UNPULLABLE:
            text = (
                f"image {container.image} cannot be pulled ({reason}: {said}); correct images.train, or "
                f"imagePullSecrets, in the chart's values"
            )
            yield PodReason(pod=pod.name, kind=f"image {container.image}", text=text)
        elif reason == "CreateContainerConfigError":
            yield PodReason(pod=pod.name, kind=f"config {said}", text=f"{said}; {_config_remedy(said)}")
        elif reason in CRASHED:
            yield _crashed(pod.name, container)


def _crashed(pod: str, container: ContainerStatus) -> PodReason:
    last = f", last with exit code {container.last_exit_code} ({container.last_reason})"
    last = last if container.last_exit_code is not None else ""
    text = (
        f"container {container.name} keeps stopping ({container.waiting_reason}{last}); "
        f"`kubectl logs --previous {pod} {container.name}` shows why"
    )
    return PodReason(pod=pod, kind=f"container {container.waiting_reason}", text=text)


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


def _from_scheduling(pod: Pod) -> Iterator[PodReason]:
    for condition in pod.conditions:
        if condition.type != "PodScheduled" or condition.status != "False":
            continue
        if condition.reason == "SchedulingGated":
            yield PodReason(pod=pod.name, kind="gate", text="waits for its scheduling gates; Kueue removes them")
        else:
            yield _unschedulable(pod.name, condition.message)


def _unschedulable(pod: str, said: str) -> PodReason:
    remedy = "it starts when a node has room; otherwise lower the group's resources, or correct its nodeSelector and"
    text = f"fits on no node ({one_line(said)}); {remedy} tolerations"
    return PodReason(pod=pod or "a pod", kind=UNSCHEDULABLE, text=text)


def _refused_pod(said: str) -> PodReason:
    """For a pod that Kubernetes refused to create."""
    line = one_line(said)
    remedy = admission_remedy(line)
    text = f"{line}; {remedy}" if remedy else f"pods cannot be created: {line}; {ADMIN}"
    return PodReason(pod="", kind=remedy or f"refused {line}", text=text)
