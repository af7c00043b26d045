"""Whether a cluster has room for what a release would ask of it when all its workers are there."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from histoseg.doctor.checks import Check
from histoseg.kube.api import Object
from histoseg.kube.rayjob import num_pods, quantity
from histoseg.kube.rules.manifest import Cluster, Group, Pod, at, cluster_of, is_gpu, is_gpu_for_kuberay

ROUNDING = 1e-9  # 100m and twice 100m are a hair more than 300m, in floating point.


@dataclass(frozen=True, kw_only=True)
class _Node:
    """A node that takes new pods, and what it has that no pod of ours was given yet."""

    labels: Mapping[str, str]
    free: dict[str, float]

    @classmethod
    def of(cls, node: Object) -> "_Node":
        has = _amounts(at(node, "status.allocatable") or {}, f"node {at(node, 'metadata.name')}")
        return cls(labels=at(node, "metadata.labels") or {}, free=has)

    def take(self, group: Group, resource: str, amount: float) -> bool:
        """Give a pod of the group its GPUs, if it may come here and there are as many."""
        wanted = group.pod.spec.get("nodeSelector") or {}
        if not wanted.items() <= self.labels.items() or self.free.get(resource, 0.0) < amount:
            return False
        self.free[resource] -= amount
        return True


def gpu_check(template: Mapping[str, Any], nodes: Sequence[Object]) -> Check:
    """Whether the nodes could hold every GPU pod at once, if nothing else used their GPUs."""
    open_nodes = [_Node.of(node) for node in nodes if not at(node, "spec.unschedulable")]
    wanted = [(group, count, _gpus(_asked(group.pod, "limits"))) for group, count in _worker_groups(template)]
    named = {name for _, _, gpus in wanted for name in gpus}  # Of a node's devices, others may be network cards.
    known = [{name: x for name, x in n.free.items() if name in named or is_gpu_for_kuberay(name)} for n in open_nodes]
    there = sum(sum(gpus.values()) for gpus in known)
    asked, placed = 0.0, 0.0
    for group, count, gpus in wanted:
        for resource, amount in gpus.items():
            asked += count * amount
            placed += amount * sum(any(n.take(group, resource, amount) for n in open_nodes) for _ in range(count))
    return Check(
        what="GPUs",
        ok=placed >= asked,
        found=f"{asked:g} asked for, {placed:g} fit on the nodes of now, which have {there:g}",
        advice="lower maxReplicas or gpus of the worker groups, correct their nodeSelector, or add nodes "
        "(where nodes come once pods wait for them, nothing is wrong)",
    )


def quota_checks(template: Mapping[str, Any], quotas: Sequence[Object]) -> Iterator[Check]:
    """Whether each of the namespace's quotas allows what a job asks for, if no other job ran."""
    asked = planned(template)
    for quota in quotas:
        name = f"quota {at(quota, 'metadata.name')}"
        written = at(quota, "status.hard") or at(quota, "spec.hard") or {}
        hard = _amounts({key: written[key] for key in sorted(written.keys() & asked.keys())}, name)
        used = _amounts(at(quota, "status.used") or {}, name)
        over = [key for key in hard if asked[key] > hard[key] * (1 + ROUNDING)]
        shown = [f"{key} {asked[key]:g} of {hard[key]:g} ({used.get(key, 0):g} used)" for key in hard]
        yield Check(
            what=name,
            ok=not over,
            found="; ".join(shown) or "limits nothing that a job asks for",
            advice=f"ask for more {', '.join(over)}, or `helm upgrade` the release with fewer or smaller workers",
        )


def planned(template: Mapping[str, Any]) -> dict[str, float]:
    """What all pods of a job ask for together, under the names that quotas have for it."""
    cluster = cluster_of(template)
    pods = [(_head(cluster), 1)] if cluster else []
    pods += [(group.pod, count) for group, count in _worker_groups(template)]
    submitter = at(template, "spec.submitterPodTemplate.spec")
    pods += [(Pod(path="spec.submitterPodTemplate.spec", spec=submitter), 1)] if submitter else []
    total: defaultdict[str, float] = defaultdict(float)
    for pod, count in pods:
        total["pods"] += count
        for kind in ("requests", "limits"):
            for resource, amount in _asked(pod, kind).items():
                total[f"{kind}.{resource}"] += count * amount
    # A quota's cpu and memory are what pods request.
    return dict(total) | {name: total[f"requests.{name}"] for name in ("cpu", "memory")}


def _head(cluster: Cluster) -> Pod:
    """The head's pod, with the container that KubeRay adds to it for the autoscaler."""
    pod = cluster.head.pod
    if not cluster.autoscaling:
        return pod
    added = {"resources": at(cluster.spec, "autoscalerOptions.resources") or {}}
    return Pod(path=pod.path, spec={**pod.spec, "containers": [*(pod.spec.get("containers") or []), added]})


def _worker_groups(template: Mapping[str, Any]) -> list[tuple[Group, int]]:
    """Each worker group with the number of pods that it may come to have."""
    cluster = cluster_of(template)
    return [(group, num_pods(group.spec, cluster.autoscaling)) for group in cluster.workers] if cluster else []


def _asked(pod: Pod, kind: str) -> dict[str, float]:
    """The sum of the containers' requests, or limits."""
    total: defaultdict[str, float] = defaultdict(float)
    where = f"{pod.path} of the job template"
    for container in pod.spec.get("containers") or []:
        for resource, amount in _amounts(at(container, f"resources.{kind}") or {}, where).items():
            total[resource] += amount
    return dict(total)


def _amounts(resources: Mapping[str, Any], where: str) -> dict[str, float]:
    return {name: quantity(amount, where) for name, amount in resources.items()}


def _gpus(amounts: Mapping[str, float]) -> dict[str, float]:
    return {name: amount for name, amount in amounts.items() if is_gpu(name)}
