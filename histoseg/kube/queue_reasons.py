"""Why a job waits in a queue of Kueue, whether that ends by itself, and what would help.

Kueue says why in messages, which are the same from 0.17 to 0.19: pkg/controller/core/workload_controller.go and
pkg/scheduler (scheduler.go, flavorassigner). The finer reasons of its conditions need a feature gate that is off.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from histoseg.kube.objects import Condition, LocalQueue, Workload
from histoseg.kube.refusals import ADMIN, one_line
from histoseg.runs.follow import Reason

STARTS = "it starts by itself when there is room"
NEVER = "it cannot start like this"
LACKS_QUOTA = re.compile(r"insufficient quota for (\S+) in flavor [^,]+, [^,]*maximum capacity")
WAITS_FOR_QUOTA = re.compile(r"insufficient unused quota for (\S+) in flavor|borrowing limit for (\S+) in flavor")
WAITS = re.compile(r"no longer fits after processing|waiting for all admitted workloads|Preempted to accommodate")
UNCOVERED = "resource of the job unavailable in ClusterQueue"
NAMESPACE_MISMATCH = "Workload namespace doesn't match ClusterQueue selector"
# What does not end by waiting, by a pattern of Kueue's message, and what would help
MENDS = {
    r"LocalQueue (\S* )?(doesn't exist|is terminating or missing)": f"{NEVER}: create the LocalQueue in the namespace, "
    "or name another with kueue.queue in the chart's values",
    r"ClusterQueue (\S* )?(doesn't exist|not found|is terminating or missing)": f"{NEVER}: {ADMIN} to create this "
    "ClusterQueue, or to have the LocalQueue name another",
    r"LocalQueue (\S* )?is (stopped|inactive)|ClusterQueue (\S* )?is stopped": "the queue is held: it starts when its "
    f"stopPolicy is None again; {ADMIN}",
    r"ClusterQueue \S+ is inactive": "the ClusterQueue is held (stopPolicy), or lacks a flavor or an admission check; "
    f"{ADMIN}, its condition Active says which",
    r"namespace doesn't match ClusterQueue selector": f"{NEVER}: {ADMIN} to let the ClusterQueue's namespaceSelector "
    "select this namespace, or name another queue with kueue.queue in the chart's values",
    r"resource .* unavailable in ClusterQueue": f"{NEVER}: {ADMIN} to add the resource to the ClusterQueue's "
    "coveredResources",
    r"LimitRange|resources validation failed": f"{NEVER}: correct the resources in the chart's values",
    r"is deactivated|failed admission checks": f"{NEVER}: {ADMIN} why Kueue rejects it; then CANCEL=1, and submit "
    "again",
}
SMALLER = f"{NEVER}: `helm upgrade` the release with fewer or smaller workers, or ask for a larger quota"
NO_FLAVOR = f"{NEVER}: correct nodeSelector and tolerations in the chart's values, which fit no flavor of the queue"


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What would let a job start; the same kind for the same obstacle."""

    kind: str
    text: str


def from_kueue(workloads: Sequence[Workload], name: str, queue: LocalQueue | None) -> Reason:
    """Why a job is suspended that waits in the queue of this name; None if the queue does not exist."""
    conditions = {each.type: each for workload in workloads for each in workload.conditions}
    said = _said(workloads, conditions) or queue_state(name, queue)
    outlook = outlook_of(said)
    evicted = conditions.get("Evicted")
    before = _eviction(evicted) if evicted and evicted.status == "True" else ""
    now = "" if evicted and said == evicted.message else said
    waits = f"waits in Kueue's queue {name!r}{f': {one_line(now)}' if now else ''}"
    return Reason(
        kind=f"queue:{evicted.reason if evicted and before else ''}:{outlook.kind}",
        text=f"{before}{waits}; {outlook.text}",
    )


def outlook_of(said: str) -> Outlook:
    """Whether a job with this message from Kueue starts by itself, and what would help if not."""
    for pattern, mend in MENDS.items():
        if re.search(pattern, said):
            return Outlook(kind=pattern, text=mend)
    is_waiting = WAITS.search(said) is not None
    for part in said.split("couldn't assign flavors to pod set"):
        waiting = {resource for found in WAITS_FOR_QUOTA.findall(part) for resource in found if resource}
        if set(LACKS_QUOTA.findall(part)) - waiting:  # Of several flavors, one may only be in use
            return Outlook(kind="quota", text=SMALLER)
        if not waiting and re.search(r"untolerated taint|doesn't match node affinity", part):
            return Outlook(kind="flavor", text=NO_FLAVOR)
        is_waiting = is_waiting or bool(waiting)
    if is_waiting:
        return Outlook(kind="waits", text=STARTS)
    if not said:
        return Outlook(kind="undecided", text="Kueue has not decided yet; see that it runs if this stays so")
    return Outlook(kind=f"other {said}", text=f"`kubectl describe workloads` says more; {ADMIN} if this stays so")


def queue_state(name: str, queue: LocalQueue | None) -> str:
    """Why a LocalQueue takes no jobs, in the words that Kueue has for a job in it; "" if it takes them."""
    if queue is None:
        return f"LocalQueue {name} doesn't exist"
    inactive = next((each for each in queue.conditions if (each.type, each.status) == ("Active", "False")), None)
    states = {
        "Stopped": f"LocalQueue {name} is stopped",
        "ClusterQueueDoesNotExist": f"ClusterQueue {queue.cluster_queue} doesn't exist",
        "ClusterQueueIsInactive": f"ClusterQueue {queue.cluster_queue} is inactive",
    }
    return states.get(inactive.reason, inactive.message or inactive.reason) if inactive else ""


def _said(workloads: Sequence[Workload], conditions: Mapping[str, Condition]) -> str:
    """Kueue's message about the job; "" where it has none yet."""
    if any(not workload.is_active for workload in workloads):
        return f"The workload is deactivated. {conditions.get('Evicted', Condition()).message}"
    reserved = conditions.get("QuotaReserved", Condition())
    if reserved.status == "True":
        checks = [check for workload in workloads for check in workload.checks if check.state != "Ready"]
        return f"has its quota, and waits for {', '.join(f'{each.name} ({each.state})' for each in checks)}"
    return reserved.message


def _eviction(evicted: Condition) -> str:
    """That the job ran before, and why no more."""
    did = "was preempted by Kueue" if evicted.reason == "Preempted" else f"was evicted by Kueue ({evicted.reason})"
    return f"{did}: {one_line(evicted.message)}; what it finished lies in the store, and now it "
