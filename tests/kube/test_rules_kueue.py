"""The rules of Kueue."""

import pytest

from tests.kube.broken import (
    AUTOSCALED,
    CLUSTER,
    OWN_MODE,
    QUEUED,
    SELECTED,
    SHOWN_WORKER,
    UNTIMED,
    WORKER,
    cases,
    names,
    told,
)
from tests.kube.example import GONE, pod, ray_cluster, ray_job, spoilt

MODE = "spec.submissionMode"
HTTP = {**OWN_MODE, MODE: "HTTPMode"}  # Nothing submits but the operator
CLUSTER_QUEUED = {r"metadata.labels.kueue\.x-k8s\.io/queue-name": "lab"}


def groups(number):
    template = pod("w", {"cpu": 1})
    return [{"groupName": f"g{i}", "minReplicas": 0, "maxReplicas": 1, "template": template} for i in range(number)]


def full(number, most, taken):
    return f"{CLUSTER}.workerGroupSpecs is {number}; a job in a queue has at most {most} worker groups beside {taken}"


def kept(name, found=None):
    return f'{SHOWN_WORKER}.groupName is "{found or name}"; Kueue keeps that for the {name}; rename it'


# A workload has 18 sets of pods: 17 groups and the head, or 16, the head and the submitter.
JOBS = {
    "brings_its_cluster": [
        (
            {**QUEUED, **SELECTED, "spec.suspend": False},
            'spec.clusterSelector is "set"; a job in a queue starts its own cluster; leave clusterSelector out and '
            "give rayClusterSpec",
        ),
    ],
    "gives_back_its_cluster": [
        (
            {**QUEUED, **UNTIMED, "spec.suspend": False},
            "spec.shutdownAfterJobFinishes is false; a job in a queue needs true",
        ),
    ],
    "fits_a_workload": [
        (
            {**QUEUED, f"{CLUSTER}.workerGroupSpecs": groups(17)},
            full(17, 16, "head and submitter"),
        ),
        (
            {**QUEUED, MODE: GONE, f"{CLUSTER}.workerGroupSpecs": groups(17)},
            full(17, 16, "head and submitter"),
        ),
        (
            {**QUEUED, **HTTP, f"{CLUSTER}.workerGroupSpecs": groups(18)},
            full(18, 17, "head"),
        ),
        ({**QUEUED, f"{WORKER}.groupName": "head"}, kept("head")),
        ({**QUEUED, f"{WORKER}.groupName": "submitter"}, kept("submitter")),
        ({**QUEUED, f"{WORKER}.groupName": "Submitter"}, kept("submitter", found="Submitter")),
        ({**QUEUED, **HTTP, f"{WORKER}.groupName": "head"}, kept("head")),
    ],
    "scales_as_a_queue_allows": [
        (
            {**QUEUED, **AUTOSCALED},
            f"{CLUSTER}.enableInTreeAutoscaling is true; a job in a queue scales only with the annotation "
            'kueue.x-k8s.io/elastic-job: "true"',
        ),
    ],
}


@pytest.mark.parametrize(("edits", "line"), cases(JOBS))
def test_a_job_that_breaks_one_rule(edits, line):
    assert told(spoilt(ray_job(), edits)) == [line]


def test_every_rule_is_broken_by_some_case():
    from histoseg.kube.rules import kueue

    assert names(kueue.JOB_RULES, kueue.CLUSTER_RULES) == {*JOBS}


@pytest.mark.parametrize(
    "edits",
    [
        {**QUEUED, f"{CLUSTER}.workerGroupSpecs": groups(16)},
        {**QUEUED, **HTTP, f"{CLUSTER}.workerGroupSpecs": groups(17)},
        {**QUEUED, **HTTP, f"{WORKER}.groupName": "submitter"},
        {f"{CLUSTER}.workerGroupSpecs": groups(18)},  # In no queue
        {f"{WORKER}.groupName": "submitter"},
    ],
)
def test_what_breaks_no_rule(edits):
    assert told(spoilt(ray_job(), edits)) == []


def test_a_cluster_of_its_own_has_no_submitter():
    full = {**CLUSTER_QUEUED, "spec.workerGroupSpecs": groups(17)}
    assert told(spoilt(ray_cluster(), {**full, "spec.workerGroupSpecs.0.groupName": "submitter"})) == []
    assert told(spoilt(ray_cluster(), {**full, "spec.workerGroupSpecs": groups(18)})) == [
        "spec.workerGroupSpecs is 18; a job in a queue has at most 17 worker groups beside head"
    ]
