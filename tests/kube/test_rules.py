"""What no rule alone says; tests/kube/test_rules_<module>.py has each module's rules."""

import pytest

from tests.kube.broken import AUTOSCALED, CLUSTER, HEAD_POD, OWN_MODE, QUEUED, SELECTED, told
from tests.kube.example import GONE, NAME, pod, ray_cluster, ray_job, spoilt


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
