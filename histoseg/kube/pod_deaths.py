"""What pods of a job died of, by their statuses and by events about those that are gone already.

Reasons and messages are those of Kubernetes 1.37: kubelet (pkg/kubelet/eviction, nodeshutdown), scheduler (preemption),
node lifecycle, taint eviction and pod garbage collection. The condition DisruptionTarget says who ends a pod.
"""

import re
from collections.abc import Iterator, Sequence

from histoseg.kube.objects import Condition, Event, Pod
from histoseg.kube.reasons import PodReason
from histoseg.kube.refusals import one_line

GROUP = "ray.io/group"  # KubeRay's label: a worker group's name, or
HEAD = "headgroup"
OOM, EVICTED = "OOMKilled", "Evicted"
REPLACED = "its work goes on from the last checkpoint in a new pod"
LOST_NODE = f"its node was lost; {REPLACED}"
PREEMPTED = f"was preempted by a pod of higher priority; {REPLACED} when a node has room"
DISRUPTIONS = {  # By the reason of the condition DisruptionTarget
    "PreemptionByScheduler": ("preempted", PREEMPTED),
    "EvictionByEvictionAPI": ("drained", f"its node is drained; {REPLACED}"),
    "DeletionByTaintManager": ("node lost", LOST_NODE),
    "DeletionByPodGC": ("node lost", LOST_NODE),
}
STATUSES = {  # By the reason in a pod's status; that of an eviction is explained by its message
    "NodeLost": ("node lost", LOST_NODE),
    "Terminated": ("node shut down", f"its node was shut down; {REPLACED}"),
    "Preempting": ("preempted", PREEMPTED),
}
EVENTS = {"Preempted": ("preempted", PREEMPTED), "TaintManagerEviction": ("node lost", LOST_NODE)}
# What the kubelet says of an eviction, and what to do
EVICTIONS = {
    r'EmptyDir volume "home"': "raise homeSize in the chart's values",
    r'EmptyDir volume "shm"': "raise shmSize of its group in the chart's values",
    r"local storage usage exceeds|local ephemeral storage limit": "the chart sets no such limit: see the namespace's "
    "LimitRange",
    r"low on resource: memory": "give its node fewer pods, or its pods nodes with more memory",
    r"ephemeral[- ]storage|low on resource: (nodefs|imagefs)|DiskPressure": "give its pods nodes with larger disks, or "
    "fewer of them a node",
    r"low on resource: pids|PIDPressure": "give its node fewer pods",
}


def from_pods(pods: Sequence[Pod]) -> Iterator[PodReason]:
    """What pods died of that are still there, or are about to."""
    for pod in pods:
        if found := _ended(pod):
            kind, text = found
            yield PodReason(pod=pod.name, kind=kind, text=text, counts=True)


def from_events(events: Sequence[Event], ray_cluster: str, since: str) -> Iterator[PodReason]:
    """What pods of a Ray cluster died of since a time, by the newest event that says so of each."""
    newest = {event.about: event for event in events if event.reason in (EVICTED, *EVENTS) and event.last_seen >= since}
    for pod, event in newest.items():
        if pod.startswith(f"{ray_cluster}-") and not event.message.startswith("Cancelling deletion"):
            kind, text = _evicted(event.message) if event.reason == EVICTED else EVENTS[event.reason]
            yield PodReason(pod=pod, kind=kind, text=text, counts=True)


def _ended(pod: Pod) -> tuple[str, str] | None:
    """The kind of a pod's end and the text about it; None if it lives, or ended in an ordinary way."""
    if pod.reason == EVICTED:
        return _evicted(pod.message)
    disruption = next((each for each in pod.conditions if _disrupts(each)), None)
    return (
        STATUSES.get(pod.reason)
        or (DISRUPTIONS.get(disruption.reason) if disruption else None)
        or next(_out_of_memory(pod), None)
    )


def _disrupts(condition: Condition) -> bool:
    return (condition.type, condition.status) == ("DisruptionTarget", "True")


def _evicted(said: str) -> tuple[str, str]:
    words = one_line(said)
    kind = next((pattern for pattern in EVICTIONS if re.search(pattern, words)), "")
    remedy = EVICTIONS.get(kind, "see the limits of its group in the chart's values")
    return f"evicted {kind}", f"was evicted by its node: {words.rstrip('. ')}; {remedy}"


def _out_of_memory(pod: Pod) -> Iterator[tuple[str, str]]:
    limits = {container.name: container.limits.get("memory", "none") for container in pod.spec.containers}
    for container in (*pod.init_containers, *pod.containers):
        if OOM in (container.ended_reason, container.last_reason):
            limit, value = limits.get(container.name, "unknown"), _memory_value(pod, container.name)
            text = f"container {container.name} was killed for its memory ({OOM}, limit {limit}); {value}"
            yield f"{OOM} {pod.labels.get(GROUP, '')} {container.name}", text


def _memory_value(pod: Pod, container: str) -> str:
    """Which value of the chart sets a container's limit."""
    group = pod.labels.get(GROUP, "")
    if container == "ray-head":
        return "raise head.memory in the chart's values, and submit again"
    if container == "ray-worker":
        return f"raise memory of group {group!r} in workerGroups of the chart's values, and submit again"
    return "its limit is no value of the chart"
