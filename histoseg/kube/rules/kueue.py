"""What Kueue's webhooks ask of a Ray cluster or RayJob that waits in a queue (Kueue 0.19).

RayJobWebhook.validateCreate (pkg/controller/jobs/rayjob) and ValidateCreate (pkg/controller/jobs/raycluster).
"""

from collections.abc import Iterator

from histoseg.kube.rules.manifest import Cluster, Document, Finding, at
from histoseg.kube.rules.raycluster import Rule

QUEUE, ELASTIC = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/elastic-job"
MAX_POD_SETS = 18  # Of a workload: spec.podSets of its CRD


def brings_its_cluster(job: Document) -> Iterator[Finding]:
    """A job that starts nothing, while a queue hands out what a job would start."""
    if _queued(job) and (at(job, "spec.clusterSelector") or at(job, "spec.rayClusterSpec") is None):
        remedy = "a job in a queue starts its own cluster; leave clusterSelector out and give rayClusterSpec"
        yield Finding(
            path="spec.clusterSelector", found="set" if at(job, "spec.clusterSelector") else None, remedy=remedy
        )


def gives_back_its_cluster(job: Document) -> Iterator[Finding]:
    """A job that keeps its cluster, so that its quota would never be free again."""
    if _queued(job) and not at(job, "spec.shutdownAfterJobFinishes"):
        found = at(job, "spec.shutdownAfterJobFinishes")
        yield Finding(path="spec.shutdownAfterJobFinishes", found=found, remedy="a job in a queue needs true")


def fits_a_workload(cluster: Cluster) -> Iterator[Finding]:
    """More groups than a workload has places for, or one whose name is taken there.

    The submitter's place is not the webhooks' to know: PodSets (pkg/controller/jobs/rayjob) adds it, and the workload
    is refused. Names are compared as there, in lower case (NewPodSetReference).
    """
    taken = ("head", "submitter") if cluster.submitter else ("head",)
    path, most = f"{cluster.path}.workerGroupSpecs", MAX_POD_SETS - len(taken)
    if cluster.queue and len(cluster.workers) > most:
        remedy = f"a job in a queue has at most {most} worker groups beside {' and '.join(taken)}"
        yield Finding(path=path, found=len(cluster.workers), remedy=remedy)
    for group in cluster.workers if cluster.queue else []:
        if (name := group.name.lower()) in taken:
            remedy = f"Kueue keeps that for the {name}; rename it"
            yield Finding(path=f"{group.path}.groupName", found=group.name, remedy=remedy)


def scales_as_a_queue_allows(cluster: Cluster) -> Iterator[Finding]:
    """A job of unknown size, unless it is marked as one that may grow."""
    if cluster.queue and cluster.autoscaling and cluster.annotations.get(ELASTIC) != "true":
        remedy = f'a job in a queue scales only with the annotation {ELASTIC}: "true"'
        yield Finding(path=f"{cluster.path}.enableInTreeAutoscaling", found=True, remedy=remedy)


def _queued(document: Document) -> bool:
    return bool((at(document, "metadata.labels") or {}).get(QUEUE))


JOB_RULES = (brings_its_cluster, gives_back_its_cluster)
CLUSTER_RULES: tuple[Rule, ...] = (fits_a_workload, scales_as_a_queue_allows)
