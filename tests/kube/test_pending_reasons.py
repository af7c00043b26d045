"""Why a job does not start, by the words of kubelet, scheduler, Kueue and KubeRay (Kubernetes 1.33, KubeRay 1.7)."""

import re
import time
from dataclasses import replace

import pytest

from tests.kube.lab import LATER, RAYJOBS, both, ends, ray_pod, state, waiting, warning

WORKLOADS, QUEUES = "kueue.x-k8s.io/v1beta2/workloads", "kueue.x-k8s.io/v1beta2/localqueues"
QUOTA = 'pods "x" is forbidden: exceeded quota: team, requested: requests.nvidia.com/gpu=1, used: 4, limited: 4'


def unready(reason, message, **more):
    return ray_pod("gpu", waiting(reason, message, **more))


def unscheduled(reason, message):
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    return ray_pod("gpu", {"phase": "Pending", "conditions": [condition]})


def no_replica(message):
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreateWorkerPod", "message": message}
    condition["lastTransitionTime"] = LATER
    return state("Initializing", ray_cluster={"conditions": [condition]})


def of_job(reason, message, **more):
    return warning(lambda name: name, reason, message, **more)


def of_ray_cluster(reason, message):
    return warning(lambda name: f"{name}-00001", reason, message)


CRASHED = {"lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}
NO_KEY = "couldn't find key access in Secret team/store-keys"
NO_NODE = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
NO_ROOM = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NO_NODE}
ENDED = {"entrypoint": "true", "shutdownAfterJobFinishes": True}
NO_MOUNT = 'MountVolume.SetUp failed: secret "y" not found'
FAILED_MOUNT = warning(lambda name: f"{name}-gpu", "FailedMount", NO_MOUNT)
CASES = {
    "image": (
        unready("ImagePullBackOff", "Back-off pulling"),
        ["-gpu: image registry/none:1 cannot be pulled (ImagePullBackOff: Back-off pulling); correct images.train"],
    ),
    "secret": (
        unready("CreateContainerConfigError", 'secret "keys" not found'),
        ['secret "keys" not found; create that Secret in the namespace, or correct store.existingSecret'],
    ),
    "key": (unready("CreateContainerConfigError", NO_KEY), [NO_KEY, "; add the key access to Secret team/store-keys"]),
    "config map": (
        unready("CreateContainerConfigError", 'configmap "x" not found'),
        ['configmap "x" not found; create it'],
    ),
    "crash": (
        unready("CrashLoopBackOff", "back-off 5m0s", **CRASHED),
        ["container ray keeps stopping (CrashLoopBackOff, last with exit code 1 (Error)); `kubectl logs --pre"],
    ),
    "nodes": (unscheduled("Unschedulable", NO_NODE), [f"fits on no node ({NO_NODE}); it starts when a node has room"]),
    "nodes by event": (
        warning(lambda name: name, "FailedScheduling", NO_NODE),
        [f"fits on no node ({NO_NODE}); it starts when a node has room"],
    ),
    "gate": (unscheduled("SchedulingGated", "Scheduling is blocked"), ["waits for its scheduling gates"]),
    "quota": (no_replica(QUOTA), [QUOTA, "; wait until other jobs have ended"]),
    "quota of the submitter": (
        of_job("FailedCreate", f"Error creating: {QUOTA}"),
        ["Error creating", QUOTA, "; wait until other jobs have ended"],
    ),
    "pod security": (
        of_ray_cluster("FailedToCreateWorkerPod", 'pods "x" is forbidden: violates PodSecurity "restricted:latest"'),
        ['violates PodSecurity "restricted:latest"; `helm upgrade` the release'],
    ),
    "service account": (
        of_ray_cluster(
            "FailedToCreateHeadPod", 'error looking up service account team/x: serviceaccount "x" not found'
        ),
        ['serviceaccount "x" not found; `helm upgrade` the release'],
    ),
    "volume": (
        both(ray_pod("gpu", {"phase": "Pending"}), FAILED_MOUNT),
        [f"a volume cannot be mounted: {NO_MOUNT}; create it"],
    ),
    "anything else": (
        of_job("FailedToCreateRayCluster", "webhook says no"),
        ["pods cannot be created: webhook says no; ask your cluster administrator"],
    ),
}


def stay(api, name):
    """Nothing changes."""


def resolve(api, name):
    api.remove_pods()


@pytest.mark.parametrize("case", CASES)
def test_is_one_line_with_a_remedy_and_said_once(case, act, name):
    step, parts = CASES[case]
    stuck = [both(state("Initializing"), step), stay, stay]
    shown, _ = act([*stuck, both(state("Running", "RUNNING"), resolve), ends()])
    said = [line for line in shown if re.search(".*".join(map(re.escape, parts)), line)]
    assert len(said) == 1, shown
    assert said[0].startswith(f"{name}: ")


def test_the_same_in_other_words_is_not_said_again(act):
    words = [("ErrImagePull", "not found"), ("ImagePullBackOff", "Back-off"), ("ErrImagePull", "not found")]
    steps = [both(state("Initializing"), unready(*each)) for each in words]
    shown, _ = act([*steps, ends()])
    assert sum("cannot be pulled" in line for line in shown) == 1


def test_what_happened_to_an_earlier_job_of_the_name_does_not_count(act):
    old = of_job("FailedCreate", QUOTA, at="2024-12-31T23:59:59Z")
    shown, _ = act([both(state("Initializing"), old), state("Initializing"), ends()])
    assert not any("quota" in line for line in shown)


def test_a_job_that_never_gets_its_image_ends_with_what_was_in_its_way(act, mistake):
    shown = []
    pod = unready("ErrImagePull", "not found")
    end = ends("Failed", "", reason="PreRunningDeadlineExceeded", message="the job was not running in time")
    with pytest.raises(mistake, match="failed: PreRunningDeadlineExceeded: the job was not running in time"):
        act([both(state("Initializing"), pod), state("Initializing"), end], shown=shown)
    assert any("cannot be pulled" in line for line in shown)


@pytest.fixture(scope="session")
def workloads(api_server):
    """The kind Workload of Kueue, as far as it is read here."""
    names = {"plural": "workloads", "singular": "workload", "kind": "Workload", "listKind": "WorkloadList"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1beta2", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    approved = {"api-approved.kubernetes.io": "unapproved, a stand-in"}
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "workloads.kueue.x-k8s.io", "annotations": approved},
        "spec": {"group": "kueue.x-k8s.io", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    assert api_server.create(body) == ""
    deadline = time.monotonic() + 30
    while api_server.send("GET", f"/apis/{WORKLOADS}"):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_in_kueues_queue(act, workloads, settings, name):
    def admit(api, name):
        api.patch(name, spec={"suspend": False})

    said = "couldn't assign flavors to pod set gpu: insufficient unused quota for cpu in flavor a, 1 more needed"
    status = {"conditions": [{"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": said}]}

    def queue(api, name):
        api.put(QUEUES, "gpus", {"spec": {"clusterQueue": "lab"}})
        labels = {"metadata": {"labels": {"kueue.x-k8s.io/job-uid": api.rayjob(name)["metadata"]["uid"]}}}
        api.put(WORKLOADS, "w", {**labels, "status": status})

    template = {**settings.template, "spec": {**settings.template["spec"], "suspend": True}}
    template["metadata"] = {"namespace": "team", "labels": {"kueue.x-k8s.io/queue-name": "gpus"}}
    script = [both(queue, state("Suspended")), state("Suspended"), both(admit, state("Initializing")), ends()]
    shown, _ = act(script, settings=replace(settings, template=template))
    lines = [line for line in shown if "queue" in line]
    assert lines == [f"{name}: waits in Kueue's queue 'gpus': {said}; it starts by itself when there is room"]


def test_several_pods_that_hang_are_all_told_the_same_once(act, name):
    def hang(api, job):
        for i in range(3):
            ray_pod(f"gpu-{i}", waiting("ErrImagePull", "not found"))(api, job)
        ray_pod("cpu", {"phase": "Pending", "conditions": [NO_ROOM]})(api, job)

    shown, _ = act([both(state("Initializing"), hang), state("Initializing"), ends()])
    lines = [line for line in shown if "cannot be pulled" in line or "fits on no node" in line]
    assert sorted(line.split(": ")[1] for line in lines) == [f"{name}-cpu", f"{name}-gpu-0 and 2 more"]


def test_a_volume_is_told_of_every_pod_that_lacks_it(act, name):
    def hang(api, job):
        for i in range(2):
            ray_pod(f"gpu-{i}", {"phase": "Pending"})(api, job)
            warning(lambda job, i=i: f"{job}-gpu-{i}", "FailedMount", NO_MOUNT)(api, job)

    shown, _ = act([both(state("Initializing"), hang), state("Initializing"), ends()])
    assert [line for line in shown if "-gpu-0 and 1 more: a volume cannot be mounted" in line]


def test_what_a_pod_died_of_is_told_once_and_one_more_again(act):
    """The first is gone by the next look, as KubeRay deletes a pod that has failed; its event stays."""
    evicted = 'Usage of EmptyDir volume "home" exceeds the limit "50Gi". '

    def evict(number):
        return warning(lambda job: f"{job}-00001-gpu-worker-{number}", "Evicted", evicted)

    running = state("Running", "RUNNING")
    shown, _ = act([both(running, evict(1)), running, both(running, evict(2)), running, ends()])
    lines = [line for line in shown if "was evicted by its node" in line]
    assert [("and 1 more" in line, "raise homeSize" in line) for line in lines] == [(False, True), (True, True)]


def test_pods_of_a_job_that_has_ended_are_named_where_they_take_the_room(act, server):
    """Kueue gives the quota of a finished job away at once; its pods live as long as the chart says."""
    last = {"labels": {"histoseg.io/job": "smoke-1"}}
    ended = {"jobDeploymentStatus": "Complete", "rayClusterName": "smoke-1-00001", "endTime": "2025-01-01T00:04:00Z"}
    server.put(
        RAYJOBS, "smoke-1", {"metadata": last, "spec": {**ENDED, "ttlSecondsAfterFinished": 60}, "status": ended}
    )
    still_there = {"metadata": {"labels": {"ray.io/cluster": "smoke-1-00001"}}, "status": {"phase": "Running"}}
    server.put("v1/pods", "smoke-1-00001-gpu", still_there)
    hang = ray_pod("gpu", {"phase": "Pending", "conditions": [NO_ROOM]})
    shown, _ = act([both(state("Initializing"), hang), state("Initializing"), ends()])
    (line,) = [line for line in shown if "still there" in line]
    assert "the pods of smoke-1 are still there, which ended at 2025-01-01T00:04:00Z: they go 60 s after" in line
