"""What pods died of, from statuses and events as Kubernetes 1.37 writes them."""

import pytest

from histoseg.kube.objects import Event, Pod, read
from histoseg.kube.pod_deaths import from_events, from_pods
from histoseg.kube.reasons import grouped

KILLED = {"exitCode": 137, "reason": "OOMKilled", "startedAt": "2025-01-01T00:00:00Z"}
SINCE = "2025-01-01T00:00:00Z"
# kubelet, pkg/kubelet/eviction/helpers.go: nodeLowMessageFmt, containerMessageFmt, emptyDirMessageFmt, …
LOW = (
    "The node was low on resource: memory. Threshold quantity: 100Mi, available: 60268Ki. Container ray-worker was "
    "using 17Gi, request is 16Gi, has larger consumption of memory. "
)
HOME = 'Usage of EmptyDir volume "home" exceeds the limit "50Gi". '
SHM = 'Usage of EmptyDir volume "shm" exceeds the limit "2Gi". '
EPHEMERAL = "The node was low on resource: ephemeral-storage. Threshold quantity: 5Gi, available: 4Gi. "


def pod(name="gpu-1", group="gpu", container="ray-worker", memory="16Gi", conditions=(), **status):
    labels = {"ray.io/group": group, "ray.io/cluster": "job-1"} if group else {}
    limits = {"cpu": "4", "memory": memory}
    spec = {"containers": [{"name": container, "resources": {"limits": limits}}]}
    status = {"conditions": list(conditions), **status}
    return read(Pod, {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": status}, "a pod")


def killed(container="ray-worker", **more):
    """A container that is running again after it was killed."""
    status = {"name": container, "state": {"running": {}}, "lastState": {"terminated": KILLED}, "restartCount": 1}
    return pod(container=container, phase="Running", containerStatuses=[status], **more)


def disrupted(reason, message, **more):
    """A pod that something is about to end, or has ended."""
    target = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    return pod(conditions=[{"type": "Ready", "status": "True"}, target], phase="Running", **more)


def texts(*pods):
    return [reason.text for reason in grouped(from_pods(pods))]


def test_a_container_that_needed_more_memory_than_its_limit():
    (text,) = texts(killed())
    assert text.startswith("gpu-1: container ray-worker was killed for its memory (OOMKilled, limit 16Gi); ")
    assert "raise memory of group 'gpu' in workerGroups" in text


@pytest.mark.parametrize(
    ("container", "group", "value"),
    [
        ("ray-head", "headgroup", "raise head.memory"),
        ("autoscaler", "headgroup", "no value of the chart"),
        ("ray-job-submitter", "", "no value of the chart"),
    ],
)
def test_which_value_sets_the_limit(container, group, value):
    assert value in texts(killed(container=container, group=group))[0]


def test_a_container_that_was_not_started_again():
    ended = {"name": "ray-worker", "state": {"terminated": KILLED}}
    assert "OOMKilled, limit 16Gi" in texts(pod(phase="Failed", containerStatuses=[ended]))[0]


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        (LOW, "nodes with more memory"),
        (EPHEMERAL, "nodes with larger disks"),
        (HOME, "raise homeSize"),
        (SHM, "raise shmSize"),
        (
            "Pod ephemeral local storage usage exceeds the total limit of containers 20Gi. ",
            "see the namespace's LimitRange",
        ),
        ("The node had condition: [DiskPressure]. ", "nodes with larger disks"),
        ("The node was low on resource: pids. Threshold quantity: 1, available: 0. ", "fewer pods"),
        ("In words of a later version", "see the limits of its group"),
    ],
)
def test_an_eviction_says_which_resource(message, remedy):
    (text,) = texts(pod(phase="Failed", reason="Evicted", message=message))
    assert text.startswith(f"gpu-1: was evicted by its node: {message.rstrip('. ')}; ")
    assert remedy in text.partition("; ")[2]


# pkg/scheduler/framework/preemption, pkg/registry/core/pod/storage/eviction.go, pkg/controller/tainteviction, podgc
@pytest.mark.parametrize(
    ("reason", "message", "said"),
    [
        (
            "PreemptionByScheduler",
            "default-scheduler: preempting to accommodate a higher priority pod",
            "was preempted by a pod of higher priority",
        ),
        ("EvictionByEvictionAPI", "Eviction API: evicting", "its node is drained"),
        ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint", "its node was lost"),
        ("DeletionByPodGC", "PodGC: node no longer exists", "its node was lost"),
    ],
)
def test_the_condition_says_who_ended_it(reason, message, said):
    (text,) = texts(disrupted(reason, message))
    assert text.startswith(f"gpu-1: {said}")


@pytest.mark.parametrize(
    ("reason", "message", "said"),
    [
        ("NodeLost", "Node a which was running pod gpu-1 is unresponsive", "its node was lost"),
        ("Terminated", "Pod was terminated in response to imminent node shutdown.", "its node was shut down"),
        ("Preempting", "Preempted in order to admit critical pod", "was preempted"),
    ],
)
def test_the_status_says_it_too(reason, message, said):
    assert said in texts(pod(phase="Failed", reason=reason, message=message))[0]


def test_the_kubelets_own_words_say_more_than_its_condition():
    target = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": LOW}
    assert (
        "low on resource: memory" in texts(pod(phase="Failed", reason="Evicted", message=LOW, conditions=[target]))[0]
    )


def test_pods_that_live_or_ended_as_they_should():
    ended = {"name": "ray-job-submitter", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}
    assert texts(pod(phase="Running"), pod(phase="Failed", containerStatuses=[ended])) == []


def test_the_same_of_several_pods_is_one_line_and_one_more_is_news():
    pods = [killed(name=f"gpu-{i}") for i in range(3)]
    assert texts(*pods, disrupted("DeletionByPodGC", "", name="cpu-1")) == [
        texts(pods[0])[0].replace("gpu-0:", "gpu-0 and 2 more:"),
        texts(disrupted("DeletionByPodGC", "", name="cpu-1"))[0],
    ]
    kinds = [grouped(from_pods(pods[:count]))[0].kind for count in (2, 3)]
    assert kinds[0] != kinds[1]


def event(about, reason, message, at="2025-01-01T00:05:00Z"):
    body = {"involvedObject": {"kind": "Pod", "name": about}, "reason": reason, "message": message, "lastTimestamp": at}
    return read(Event, body, "an event")


def test_pods_that_are_gone_have_left_events():
    events = [
        event("job-1-gpu-worker-a", "Preempted", "Preempted by pod 6d3f on node a"),
        event("job-1-gpu-worker-b", "Evicted", HOME),
        event("job-1-gpu-worker-c", "TaintManagerEviction", "Marking for deletion Pod lab/job-1-gpu-worker-c"),
        event("job-1-gpu-worker-d", "Evicted", HOME, at="2024-12-31T23:59:59Z"),  # Of an earlier job of the name
        event("job-1-gpu-worker-g", "TaintManagerEviction", "Marking for deletion Pod lab/job-1-gpu-worker-g"),
        event("job-1-gpu-worker-g", "TaintManagerEviction", "Cancelling deletion of Pod lab/job-1-gpu-worker-g"),
        event("other-gpu-worker-e", "Evicted", HOME),
        event("job-1-gpu-worker-f", "Unhealthy", "Readiness probe failed"),
    ]
    found = list(from_events(events, "job-1", SINCE))
    assert [reason.pod[-1] for reason in found] == ["a", "b", "c"]
    assert ["preempted" in found[0].text, "homeSize" in found[1].text, "node was lost" in found[2].text] == [True] * 3
