"""Checks of a cluster's capacity for all pods that a job of a release may have at a time."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from histoseg.doctor.check import Check
from histoseg.kube.job_pods import JobPods, job_pods
from histoseg.kube.objects import Amounts, Node, Object, ResourceQuota
from histoseg.kube.rayjob import head_memory, is_gpu, is_gpu_for_kuberay, most_runs, quantity
from histoseg.runs.head import runs_for_head

ROUNDING = 1e-9  # 100m and twice 100m are a hair more than 300m, in floating point.


def gpu_check(template: Object, nodes: Sequence[Node]) -> Check:
    """Whether the nodes could hold every GPU pod at once, if nothing else used their GPUs."""
    workers = [pods for pods in job_pods(template) if pods.is_worker]
    wanted = [(pods, resource, amount) for pods in workers for resource, amount in _asked_gpus(pods).items()]
    open_nodes = [node for node in nodes if not node.unschedulable]
    free = [_quantities(node.allocatable, f"node {node.name}") for node in open_nodes]
    asked = sum(pods.count * amount for pods, _, amount in wanted)
    names = {resource for _, resource, _ in wanted}  # Other devices of a node may be network cards.
    there = sum(amount for each in free for name, amount in each.items() if name in names or is_gpu_for_kuberay(name))
    placed = 0.0
    for pods, resource, amount in wanted:
        selected = pods.spec.node_selector.items()
        allowed = [each for node, each in zip(open_nodes, free, strict=True) if selected <= node.labels.items()]
        placed += amount * sum(_take(allowed, resource, amount) for _ in range(pods.count))
    return Check(
        what="GPUs",
        ok=placed >= asked,
        found=f"{asked:g} asked for, {placed:g} fit on the current nodes, which have {there:g}",
        advice="lower maxReplicas or gpus of the worker groups, correct their nodeSelector, or add nodes "
        "(ignore this if your cluster adds nodes for pods that wait)",
    )


def head_check(template: Object) -> Check:
    """Whether the head's memory suffices for as many runs at a time as the workers have room for."""
    memory = head_memory(template)
    allowed, wanted = runs_for_head(memory), most_runs(template)
    return Check(
        what="head",
        ok=allowed >= wanted,
        found=f"memory for {allowed} runs at a time, and workers for {wanted}",
        advice="raise head.memory: 2 MiB for each run beyond 1.5 GiB",
    )


def quota_checks(template: Object, quotas: Sequence[ResourceQuota]) -> Iterator[Check]:
    """Whether each of the namespace's quotas allows what a job asks for, if no other job ran."""
    asked = planned(template)
    for quota in quotas:
        name = f"quota {quota.name}"
        limits = quota.hard or quota.hard_in_spec
        hard = _quantities({key: limits[key] for key in sorted(limits.keys() & asked.keys())}, name)
        used = _quantities(quota.used, name)
        over = [key for key in hard if asked[key] > hard[key] * (1 + ROUNDING)]
        shown = [f"{key} {asked[key]:g} of {hard[key]:g} ({used.get(key, 0):g} used)" for key in hard]
        yield Check(
            what=name,
            ok=not over,
            found="; ".join(shown) or "limits nothing that a job asks for",
            advice=f"ask for more {', '.join(over)}, or `helm upgrade` the release with fewer or smaller workers",
        )


def planned(template: Object) -> dict[str, float]:
    """What all pods of a job ask for together, under the names that quotas have for it."""
    total: defaultdict[str, float] = defaultdict(float)
    for pods in job_pods(template):
        total["pods"] += pods.count
        for container in pods.spec.containers:
            for kind, amounts in (("requests", container.requests), ("limits", container.limits)):
                for resource, amount in _quantities(amounts, pods.where).items():
                    total[f"{kind}.{resource}"] += pods.count * amount
    # A quota's cpu and memory are what pods request.
    return dict(total) | {name: total[f"requests.{name}"] for name in ("cpu", "memory")}


def _take(free: Sequence[dict[str, float]], resource: str, amount: float) -> bool:
    """Whether one of these nodes has as much left, which is then taken from it."""
    for each in free:
        if each.get(resource, 0.0) >= amount:
            each[resource] -= amount
            return True
    return False


def _asked_gpus(pods: JobPods) -> dict[str, float]:
    """The GPUs of one pod, without the network cards that a podTemplate may ask for as well."""
    total: defaultdict[str, float] = defaultdict(float)
    for container in pods.spec.containers:
        for resource, amount in _quantities(container.limits, pods.where).items():
            if is_gpu(resource):
                total[resource] += amount
    return {name: total[name] for name in total if is_gpu_for_kuberay(name)} or dict(total)


def _quantities(amounts: Amounts, where: str) -> dict[str, float]:
    return {name: quantity(amount, where) for name, amount in amounts.items()}
