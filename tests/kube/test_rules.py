"""What the tests of all rules share, and what no rule alone says. tests/kube/test_rules_<module>.py has each module's.

Each case is a manifest that breaks one rule; where the rule is from is told at the rule.
"""

import pytest

from tests.kube.example import GONE, NAME, pod, ray_cluster, ray_job, security, spoilt

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


@pytest.mark.parametrize(
    "edits",
    [
        {},
        QUEUED,
        AUTOSCALED,
        {**QUEUED, **AUTOSCALED, "metadata.annotations": {"kueue.x-k8s.io/elastic-job": "true"}},
        {**SELECTED, "spec.activeDeadlineSeconds": GONE},
        {**OWN_MODE, "spec.submissionMode": "InteractiveMode", "spec.entrypoint": GONE},
        {**OWN_MODE, "spec.submissionMode": "SidecarMode", f"{HEAD_POD}.restartPolicy": "Never"},
    ],
)
def test_what_breaks_no_rule(edits):
    assert told(spoilt(ray_job(), edits)) == []
    assert told(ray_cluster()) == []


def test_a_template_gets_its_name_and_entrypoint_later():
    from histoseg.kube.rules import faults

    template = spoilt(ray_job(), {"metadata.name": GONE, "spec.entrypoint": GONE})
    assert faults([template], template=True) == []
    assert len(faults([template])) == 2


def test_other_kinds_and_what_is_unfinished_pass_or_are_told():
    from histoseg.kube.rules import faults

    assert faults([{"kind": "ConfigMap", "data": {}}, {"apiVersion": "v1", "kind": "RayJob"}]) == []
    # Not a crash: a manifest without a spec is told what it lacks.
    assert faults([{"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": NAME}}]) == [
        f"RayJob/{NAME}: spec.entrypoint is missing; give the command to run",
        f"RayJob/{NAME}: {CLUSTER} is missing; give one, or a clusterSelector",
        f"RayJob/{NAME}: spec.submitterPodTemplate is missing; give one with a security context; "
        "KubeRay's own has none",
    ]


@pytest.mark.parametrize(
    ("kind", "path"), [("Deployment", "spec.template"), ("CronJob", "spec.jobTemplate.spec.template"), ("Pod", "")]
)
def test_pods_of_every_kind_are_looked_at(kind, path):
    from histoseg.kube.rules import faults

    document = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}}
    place = document
    for part in path.split(".") if path else []:
        place = place.setdefault(part, {})
    place["spec"] = {**pod("main", {"cpu": 1})["spec"], "hostPID": True}
    shown = f"{path}.spec" if path else "spec"
    assert faults([document]) == [f"{kind}/x: {shown}.hostPID is true; Pod Security forbids it; leave it out"]
