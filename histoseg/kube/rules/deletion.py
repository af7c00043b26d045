"""What KubeRay's controller asks of a RayJob's deletionStrategy (validation.go, KubeRay 1.7)."""

from collections.abc import Iterator
from itertools import pairwise

from histoseg.kube.rules.manifest import Document, Finding, at
from histoseg.kube.rules.rayjob import Rule

ORDER = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")  # validateTTLConsistency
STRATEGY = "spec.deletionStrategy"


def says_what_to_delete(job: Document) -> Iterator[Finding]:
    """An empty strategy, or half of one (validateDeletionConfiguration, validateLegacyDeletionPolicies)."""
    strategy = at(job, STRATEGY)
    if strategy is None:
        return
    old = [name for name in ("onSuccess", "onFailure") if strategy.get(name) is not None]
    if strategy.get("deletionRules") and old:
        yield Finding(path=f"{STRATEGY}.{old[0]}", found="set", remedy="deletionRules replace it; leave it out")
    elif not strategy.get("deletionRules") and len(old) < 2:
        yield Finding(
            path=f"{STRATEGY}.deletionRules", found=None, remedy="say what is deleted, or leave the block out"
        )


def deletes_in_one_way(job: Document) -> Iterator[Finding]:
    """The end told twice (validateDeletionConfiguration, validateLegacyDeletionPolicies)."""
    if not at(job, "spec.shutdownAfterJobFinishes"):
        return
    path = "spec.shutdownAfterJobFinishes"
    if at(job, f"{STRATEGY}.deletionRules"):
        yield Finding(path=path, found=True, remedy="deletionRules take its place; leave one of them out")
    if "DeleteNone" in (at(job, f"{STRATEGY}.onSuccess.policy"), at(job, f"{STRATEGY}.onFailure.policy")):
        yield Finding(path=path, found=True, remedy="the policy DeleteNone says the opposite; leave one of them out")


def deletes_what_it_may(job: Document) -> Iterator[Finding]:
    """What is not the job's to delete, or would come back (validateDeletionRules, validateLegacyDeletionPolicies)."""
    autoscaling = at(job, "spec.rayClusterSpec.enableInTreeAutoscaling")
    for path, policy in _policies(job):
        if at(job, "spec.clusterSelector") and policy in ("DeleteCluster", "DeleteWorkers"):
            yield Finding(path=path, found=policy, remedy="the cluster that clusterSelector names is not the job's own")
        elif autoscaling and policy == "DeleteWorkers":
            yield Finding(path=path, found=policy, remedy="the autoscaler would bring them back; use DeleteCluster")


def deletes_once_and_in_order(job: Document) -> Iterator[Finding]:
    """Two rules for one case, or the inner after the outer (validateDeletionRules, validateTTLConsistency)."""
    seconds: dict[tuple[str, str], int] = {}
    for i, rule in enumerate(at(job, f"{STRATEGY}.deletionRules") or []):
        state = at(rule, "condition.jobStatus") or at(rule, "condition.jobDeploymentStatus") or ""
        key = (state, rule.get("policy", ""))
        if key in seconds:
            remedy = f"an earlier rule says what {state} does; leave one of them out"
            yield Finding(path=f"{STRATEGY}.deletionRules[{i}].policy", found=key[1], remedy=remedy)
        seconds.setdefault(key, at(rule, "condition.ttlSeconds") or 0)
    for state in sorted({state for state, _ in seconds}):
        given = [(policy, seconds[state, policy]) for policy in ORDER if (state, policy) in seconds]
        for (earlier, least), (policy, found) in pairwise(given):
            if found < least:
                path = f"{STRATEGY}.deletionRules[{state}/{policy}].condition.ttlSeconds"
                yield Finding(path=path, found=found, remedy=f"{earlier} comes first; use {least} or more")


def _policies(job: Document) -> Iterator[tuple[str, str]]:
    """Each policy with its path."""
    for i, rule in enumerate(at(job, f"{STRATEGY}.deletionRules") or []):
        yield f"{STRATEGY}.deletionRules[{i}].policy", rule.get("policy", "")
    for name in ("onSuccess", "onFailure"):
        if policy := at(job, f"{STRATEGY}.{name}.policy"):
            yield f"{STRATEGY}.{name}.policy", policy


RULES: tuple[Rule, ...] = (
    says_what_to_delete,
    deletes_in_one_way,
    deletes_what_it_may,
    deletes_once_and_in_order,
)
