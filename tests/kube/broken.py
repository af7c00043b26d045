"""Manifests that break a rule each, as the tests of rules write them down; where a rule is from is told at the rule."""

import pytest

from tests.kube.example import GONE, security

CLUSTER, WORKER = "spec.rayClusterSpec", "spec.rayClusterSpec.workerGroupSpecs.0"
HEAD_POD = f"{CLUSTER}.headGroupSpec.template.spec"
WORKER_POD = f"{WORKER}.template.spec"
SHOWN_WORKER = f"{CLUSTER}.workerGroupSpecs[0]"
SHOWN_HEAD, SHOWN_CONTAINER = f"{HEAD_POD}.containers[0]", f"{SHOWN_WORKER}.template.spec.containers[0]"
QUEUED = {r"metadata.labels.kueue\.x-k8s\.io/queue-name": "lab", "spec.suspend": True}
AUTOSCALED = {
    f"{CLUSTER}.enableInTreeAutoscaling": True,
    f"{CLUSTER}.autoscalerOptions": {"version": "v2", "securityContext": security()},
}
OWN_MODE = {"spec.submitterPodTemplate": GONE, "spec.backoffLimit": 0}
SELECTED = {"spec.clusterSelector": {"ray.io/cluster": "shared"}, CLUSTER: GONE, "spec.backoffLimit": 0}
UNTIMED = {"spec.shutdownAfterJobFinishes": False, "spec.ttlSecondsAfterFinished": 0}


def env(name, value):
    return {"name": name, "value": value}


def cases(table):
    """(edits, line) of each rule's cases, under the rule's name."""
    return [pytest.param(*case, id=f"{name}-{i}") for name, group in table.items() for i, case in enumerate(group)]


def names(*tables):
    """Those of the rules in a module's tables."""
    return {rule.__name__ for table in tables for rule in table}


def told(document):
    """The faults of a document, without its kind and name."""
    from histoseg.kube.rules import faults

    begin = f"{document['kind']}/{document['metadata'].get('name', '?')}: "
    lines = faults([document])
    assert all(line.startswith(begin) for line in lines)
    return [line.removeprefix(begin) for line in lines]
