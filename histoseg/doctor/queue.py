"""Checks of a queue of Kueue: whether it exists and takes jobs, and whether its quota could ever hold one."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping

from histoseg.doctor.capacity import ROUNDING
from histoseg.doctor.check import Check
from histoseg.kube.api import KUEUE, KUEUE_VERSION, Cluster
from histoseg.kube.job_pods import job_pods
from histoseg.kube.objects import ClusterQueue, Flavor, Object
from histoseg.kube.queue_reasons import NAMESPACE_MISMATCH, UNCOVERED, outlook_of, queue_state
from histoseg.kube.rayjob import quantity
from histoseg.kube.refusals import ADMIN
from histoseg.kube.settings import Settings

Requests = dict[str, float]  # By resource


def queue_checks(cluster: Cluster, settings: Settings) -> Iterator[Check]:
    """Every check of the queue of a release; none without a queue."""
    if not settings.queue:
        return
    what = f"queue {settings.queue}"
    versions = {crd.name: crd.version for crd in settings.crds}
    queue = cluster.local_queue(settings.queue, versions.get(f"localqueues.{KUEUE}", KUEUE_VERSION))
    state = queue_state(settings.queue, queue)
    yield Check(what=what, ok=not state, found=state or "is active", advice=outlook_of(state).text)
    if queue is None or not queue.cluster_queue:
        return
    name = queue.cluster_queue
    if not cluster.may("get", KUEUE, "clusterqueues", name=name):
        found = f"not checked: you may not read ClusterQueue {name}, as is usual; {ADMIN} to run this"
        yield Check(what=f"{what}: quota", ok=True, found=found)
        return
    behind = cluster.cluster_queue(name)
    if behind is None:
        missing = f"ClusterQueue {name} doesn't exist"
        yield Check(what=f"{what}: quota", ok=False, found=missing, advice=outlook_of(missing).text)
        return
    yield from cluster_queue_checks(what, behind, settings.template)
    if cluster.may("get", "", "namespaces", name=cluster.namespace):
        yield namespace_check(what, behind, cluster.namespace, cluster.namespace_labels())


def cluster_queue_checks(what: str, queue: ClusterQueue, template: Object) -> Iterator[Check]:
    """Whether a ClusterQueue is active, covers all resources of a job, and has as much of them."""
    inactive = next((each for each in queue.conditions if (each.type, each.status) == ("Active", "False")), None)
    if inactive:
        yield Check(what=f"{what}: ClusterQueue", ok=False, found=inactive.message, advice=ADMIN)
    pod_sets = _pod_sets(template)
    covered = {resource for group in queue.groups for resource in group.covered}
    asked = {resource for requests in pod_sets.values() for resource, amount in requests.items() if amount}
    lacking = sorted(asked - covered)
    yield Check(
        what=f"{what}: resources",
        ok=not lacking,
        found=f"ClusterQueue {queue.name} does not cover {', '.join(lacking)}" if lacking else "all are covered",
        advice=outlook_of(UNCOVERED).text,
    )
    yield _quota_check(what, queue, pod_sets, sorted(asked & covered))


def namespace_check(what: str, queue: ClusterQueue, namespace: str, labels: Mapping[str, str]) -> Check:
    """Whether a ClusterQueue takes jobs of the namespace."""
    is_selected = queue.namespaces is not None and queue.namespaces.selects(labels)
    selection = "takes" if is_selected else "excludes"
    return Check(
        what=f"{what}: namespace",
        ok=is_selected,
        found=f"ClusterQueue {queue.name} {selection} namespace {namespace}",
        advice=outlook_of(NAMESPACE_MISMATCH).text,
    )


def _quota_check(what: str, queue: ClusterQueue, pod_sets: Mapping[str, Requests], resources: list[str]) -> Check:
    """Whether the quota would hold a job if no other job ran: all pods together, and those of a group in one flavor."""
    shown, is_enough = [], True
    for resource in resources:
        flavors = [flavor for group in queue.groups if resource in group.covered for flavor in group.flavors]
        limits = [_limit(queue, flavor, resource) for flavor in flavors] or [0.0]
        amounts = [requests.get(resource, 0.0) for requests in pod_sets.values()]
        fits = _fits(sum(amounts), sum(limits)) and _fits(max(amounts), max(limits))
        is_enough = is_enough and fits
        limit = "its cohort's" if math.isinf(sum(limits)) else f"{sum(limits):g}"
        shown.append(f"{resource} {sum(amounts):g} of {limit}{'' if fits else ', too little'}")
    advice = "`helm upgrade` the release with fewer or smaller workers, or ask for a larger quota"
    return Check(what=f"{what}: quota", ok=is_enough, found="; ".join(shown), advice=advice)


def _fits(amount: float, limit: float) -> bool:
    return amount <= limit * (1 + ROUNDING)


def _limit(queue: ClusterQueue, flavor: Flavor, resource: str) -> float:
    """The most that jobs of a queue can have of a flavor; infinite if its cohort decides."""
    where = f"ClusterQueue {queue.name}, flavor {flavor.name}"
    found = [each for each in flavor.resources if each.name == resource]
    if queue.cohort and any(each.borrowing_limit is None for each in found):
        return math.inf
    return sum(quantity(each.nominal, where) + quantity(each.borrowing_limit or 0, where) for each in found)


def _pod_sets(template: Object) -> dict[str, Requests]:
    """What the pods of each group of a job request together."""
    sets: dict[str, Requests] = {}
    for pods in job_pods(template):
        total: defaultdict[str, float] = defaultdict(float)
        for container in pods.spec.containers:
            for resource, amount in container.requests.items():
                total[resource] += pods.count * quantity(amount, pods.where)
        sets[pods.group] = dict(total)
    return sets
