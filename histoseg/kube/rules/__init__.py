"""What would be refused, or would hang, though its schema is right: KubeRay's and Kueue's rules, and our own.

A CRD's schema knows types; that a field excludes another is known to the controller alone, which says so in a status
long after `kubectl apply` was content. These rules say it before anything is created.
"""

from collections.abc import Iterable, Iterator

from histoseg.kube.rules import deletion, kueue, pods, raycluster, rayjob, secrets
from histoseg.kube.rules.manifest import Document, Finding, cluster_of, is_ray, pods_of, title


def faults(documents: Iterable[Document], *, template: bool = False) -> list[str]:
    """One line per fault: where it is, what was found, the rule and the remedy. [] if there is none.

    Args:
        documents: Manifests that fit their schemas; kinds without rules pass.
        template: Whether RayJobs are to be given their names and entrypoints later.
    """
    return [f"{title(document)}: {finding}" for document in documents for finding in _findings(document, template)]


def _findings(document: Document, template: bool) -> Iterator[Finding]:
    if is_ray(document, "RayJob"):
        for rule in (*rayjob.RULES, *deletion.RULES, *kueue.JOB_RULES):
            if not (template and rule in rayjob.FILLED_IN):
                yield from rule(document)
    if is_ray(document, "RayCluster"):
        for rule in raycluster.DOCUMENT_RULES:
            yield from rule(document)
    if cluster := cluster_of(document):
        for cluster_rule in (*raycluster.RULES, *kueue.CLUSTER_RULES, *pods.CLUSTER_RULES, *secrets.CLUSTER_RULES):
            yield from cluster_rule(cluster)
    for pod in pods_of(document):
        for pod_rule in (*pods.RULES, *secrets.RULES):
            yield from pod_rule(pod)
