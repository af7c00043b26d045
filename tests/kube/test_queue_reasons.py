"""Why a job waits in a queue, by Kueue's own messages (kubernetes-sigs/kueue, 0.17 to 0.19), and what is promised."""

import pytest

from histoseg.kube.objects import LocalQueue, Workload, read
from histoseg.kube.queue_reasons import NO_FLAVOR, SMALLER, STARTS, from_kueue, outlook_of

# pkg/scheduler/flavorassigner/flavorassigner.go, fitsResourceQuota and Message of an assignment
ASSIGN = "couldn't assign flavors to pod set"
UNUSED = f"{ASSIGN} gpu: insufficient unused quota for nvidia.com/gpu in flavor default, 2 more needed"
TOO_MUCH = (
    f"{ASSIGN} gpu: insufficient quota for nvidia.com/gpu in flavor default, previously considered podsets requests "
    "(0) + current podset request (10) > maximum capacity (8)"
)
OLDER_TOO_MUCH = f"{ASSIGN} gpu: insufficient quota for cpu in flavor default, request > maximum capacity (10 > 8)"
ONE_FLAVOR_IS_BUSY = TOO_MUCH + ", insufficient unused quota for nvidia.com/gpu in flavor spot, 2 more needed"
TWO_SETS = f"{ASSIGN} head: insufficient unused quota for nvidia.com/gpu in flavor a, 1 more needed; {TOO_MUCH}"
UNCOVERED = f"{ASSIGN} gpu: resource nvidia.com/gpu unavailable in ClusterQueue"
TAINTED = f"{ASSIGN} gpu: untolerated taint {{gpu true NoSchedule <nil>}} in flavor default"
# pkg/scheduler/scheduler.go, nominate
NAMESPACE = "Workload namespace doesn't match ClusterQueue selector"
SKIPPED = "Workload no longer fits after processing another workload"
LIMITS = "resources didn't satisfy LimitRange constraints: [spec.podSets[0]…]"
# pkg/scheduler/preemption/preemption.go, preemptionMessage
PREEMPTED = (
    "Preempted to accommodate a workload (UID: 1, JobUID: 2) due to prioritization in the ClusterQueue; preemptor "
    "path: /lab; preemptee path: /lab"
)
ADMITTED_QUEUE = {"conditions": [{"type": "Active", "status": "True", "reason": "Ready"}]}


def condition(kind, status, reason, message):
    return {"type": kind, "status": status, "reason": reason, "message": message}


def waiting(message, *more):
    """A Workload that has no quota."""
    reserved = condition("QuotaReserved", "False", "Pending", message)
    return [read(Workload, {"spec": {"active": True}, "status": {"conditions": [*more, reserved]}}, "a workload")]


def queue(status=None, **spec):
    body = {"metadata": {"name": "gpus"}, "spec": {"clusterQueue": "lab", **spec}, "status": status or ADMITTED_QUEUE}
    return read(LocalQueue, body, "a queue")


@pytest.mark.parametrize(
    "message", [UNUSED, ONE_FLAVOR_IS_BUSY, SKIPPED, UNUSED + ". Pending the preemption of 1 workload(s)"]
)
def test_only_what_ends_is_promised_to_end(message):
    assert outlook_of(message).text == STARTS
    found = from_kueue(waiting(message), "gpus", queue())
    assert found.text.startswith("waits in Kueue's queue 'gpus': ")
    assert found.text.endswith(f"; {STARTS}")


# pkg/controller/core/workload_controller.go, getQueueBlocker and reconcileOn…ActiveState
@pytest.mark.parametrize(
    ("message", "said"),
    [
        (TOO_MUCH, SMALLER),
        (OLDER_TOO_MUCH, SMALLER),
        (TWO_SETS, SMALLER),
        (UNCOVERED, "coveredResources"),
        (NAMESPACE, "namespaceSelector"),
        (TAINTED, NO_FLAVOR),
        (LIMITS, "correct the resources"),
        ("LocalQueue gpus doesn't exist", "create the LocalQueue"),
        ("LocalQueue gpus is terminating or missing", "create the LocalQueue"),
        ("ClusterQueue lab doesn't exist", "to create this ClusterQueue"),
        ("ClusterQueue lab not found", "to create this ClusterQueue"),
        ("LocalQueue gpus is inactive", "the queue is held"),
        ("LocalQueue gpus is stopped", "the queue is held"),
        ("The ClusterQueue is stopped", "the queue is held"),
        ("ClusterQueue lab is inactive", "condition Active says which"),
        ("The workload has failed admission checks", "why Kueue rejects it"),
        ("", "has not decided yet"),
        ("something that only a later version says", "`kubectl describe workloads` says more"),
    ],
)
def test_all_else_has_a_remedy_of_its_own(message, said):
    found = outlook_of(message).text
    assert said in found
    assert STARTS not in found


def test_each_obstacle_is_another_kind_and_the_same_in_other_words_is_not():
    messages = [
        UNUSED,
        TOO_MUCH,
        UNCOVERED,
        NAMESPACE,
        TAINTED,
        "LocalQueue gpus doesn't exist",
        "LocalQueue x is stopped",
    ]
    assert len({outlook_of(message).kind for message in messages}) == len(messages)
    assert outlook_of(UNUSED.replace("2 more", "1 more")).kind == outlook_of(UNUSED).kind


def test_a_long_message_is_judged_whole():
    """The page of a job with many groups: what counts may stand behind what is shown."""
    others = "; ".join(
        f"{ASSIGN} g{i}: insufficient unused quota for cpu in flavor default, 1 more needed" for i in range(9)
    )
    assert from_kueue(waiting(f"{others}; {TOO_MUCH}"), "gpus", queue()).text.endswith(SMALLER)


def test_preemption_is_called_so_and_the_job_goes_on():
    evicted = condition("Evicted", "True", "Preempted", PREEMPTED)
    found = from_kueue(waiting(UNUSED, evicted), "gpus", queue())
    assert found.text.startswith(
        f"was preempted by Kueue: {PREEMPTED}; what it finished lies in the store, and now it waits"
    )
    assert found.text.endswith(STARTS)
    first = from_kueue(waiting(PREEMPTED, evicted), "gpus", queue())  # Before the scheduler has looked at it again
    assert first.text.count("Preempted to accommodate") == 1
    assert first.text.endswith(STARTS)
    assert first.kind != from_kueue(waiting(UNUSED), "gpus", queue()).kind


def test_other_evictions_have_their_reason():
    evicted = condition("Evicted", "True", "PodsReadyTimeout", "Exceeded the PodsReady timeout team/rayjob-x")
    assert (
        "was evicted by Kueue (PodsReadyTimeout): Exceeded" in from_kueue(waiting(UNUSED, evicted), "g", queue()).text
    )
    over = condition("Evicted", "False", "QuotaReserved", "Previously: Preempted to accommodate")
    assert from_kueue(waiting(UNUSED, over), "gpus", queue()).text.startswith("waits in")


def test_a_workload_that_kueue_has_given_up():
    evicted = condition("Evicted", "True", "DeactivatedDueToAdmissionCheck", "The workload is deactivated due to …")
    status = {"conditions": [evicted]}
    (given_up,) = [read(Workload, {"spec": {"active": False}, "status": status}, "a workload")]
    assert "why Kueue rejects it" in from_kueue([given_up], "gpus", queue()).text


def test_quota_without_admission():
    reserved = condition("QuotaReserved", "True", "QuotaReserved", "Quota reserved in ClusterQueue lab")
    checks = [{"name": "nodes", "state": "Pending", "message": ""}, {"name": "other", "state": "Ready", "message": ""}]
    (held,) = [read(Workload, {"status": {"conditions": [reserved], "admissionChecks": checks}}, "a workload")]
    found = from_kueue([held], "gpus", queue()).text
    assert "waits for nodes (Pending);" in found
    assert STARTS not in found


# pkg/controller/core/localqueue_controller.go
@pytest.mark.parametrize(
    ("reason", "message", "said"),
    [
        ("Stopped", "LocalQueue is stopped", "the queue is held"),
        ("ClusterQueueDoesNotExist", "Can't submit new workloads to clusterQueue", "to create this ClusterQueue"),
        ("ClusterQueueIsInactive", "Can't submit new workloads to clusterQueue", "condition Active says which"),
    ],
)
def test_a_job_that_kueue_has_not_looked_at_shows_its_queue(reason, message, said):
    inactive = queue({"conditions": [condition("Active", "False", reason, message)]})
    assert said in from_kueue([], "gpus", inactive).text
    assert "create the LocalQueue" in from_kueue([], "gpus", None).text
    assert "has not decided yet" in from_kueue([], "gpus", queue()).text
