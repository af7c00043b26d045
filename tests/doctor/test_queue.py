"""Whether a queue of Kueue could ever hold a job; objects as Kueue 0.19 has them."""

import pytest

from histoseg.doctor.queue import cluster_queue_checks, namespace_check
from histoseg.kube.objects import ClusterQueue, read
from tests.kube.example import ray_job

# The example's job: head 2 CPUs and 4Gi, two workers of 4 CPUs, 16Gi and a GPU, submitter 1 CPU and 1Gi.
ENOUGH = {"cpu": 11, "memory": "37Gi", "nvidia.com/gpu": 2}
SELECTOR = {"matchLabels": {"team": "pathology"}}


def flavor(name, amounts):
    resources = [
        {"name": resource, **(amount if isinstance(amount, dict) else {"nominalQuota": amount})}
        for resource, amount in amounts.items()
    ]
    return {"name": name, "resources": resources}


def cluster_queue(*flavors, conditions=(), **spec):
    flavors = [flavor(f"f{i}", amounts) for i, amounts in enumerate(flavors)]
    covered = [each["name"] for each in flavors[0]["resources"]]
    groups = [{"coveredResources": covered, "flavors": flavors}]
    spec = {"namespaceSelector": {}, "resourceGroups": groups, **spec}
    body = {"metadata": {"name": "lab"}, "spec": spec, "status": {"conditions": list(conditions)}}
    return read(ClusterQueue, body, "a queue")


def checks(queue):
    return {check.what.partition(": ")[2]: check for check in cluster_queue_checks("queue gpus", queue, ray_job())}


def test_a_quota_that_holds_the_job_and_nothing_more():
    found = checks(cluster_queue(ENOUGH))
    assert all(check.ok for check in found.values())
    assert "cpu 11 of 11; " in found["quota"].found
    assert "nvidia.com/gpu 2 of 2" in found["quota"].found


@pytest.mark.parametrize("resource", ENOUGH)
def test_a_quota_that_can_never_suffice(resource):
    found = checks(cluster_queue({**ENOUGH, resource: "1"}))["quota"]
    assert not found.ok
    (short,) = [part for part in found.found.split("; ") if "too little" in part]
    assert short.startswith(f"{resource} ")


def test_a_resource_that_the_queue_does_not_cover():
    found = checks(cluster_queue({"cpu": 11, "memory": "37Gi"}))
    assert (found["resources"].ok, found["quota"].ok) == (False, True)
    assert found["resources"].found == "ClusterQueue lab does not cover nvidia.com/gpu"
    assert "coveredResources" in found["resources"].advice


def test_pods_of_a_group_are_of_one_flavor():
    """Two flavors of half a group each hold no job, though their sum would."""
    halves = [{**ENOUGH, "nvidia.com/gpu": 1}] * 2
    assert not checks(cluster_queue(*halves))["quota"].ok
    assert checks(cluster_queue(*[ENOUGH] * 2))["quota"].ok


def test_what_a_queue_may_borrow_counts():
    gpus = {"nominalQuota": 1, "borrowingLimit": 1}
    assert checks(cluster_queue({**ENOUGH, "nvidia.com/gpu": gpus}, cohortName="all"))["quota"].ok
    without_limit = checks(cluster_queue({**ENOUGH, "nvidia.com/gpu": 0}, cohortName="all"))["quota"]
    assert (without_limit.ok, "nvidia.com/gpu 2 of its cohort's" in without_limit.found) == (True, True)


def test_a_queue_that_is_held():
    stopped = {
        "type": "Active",
        "status": "False",
        "reason": "Stopped",
        "message": "Can't admit new workloads: is stopped",
    }
    found = checks(cluster_queue(ENOUGH, conditions=[stopped]))["ClusterQueue"]
    assert (found.ok, found.found) == (False, "Can't admit new workloads: is stopped")


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({}, True),
        (None, False),  # Kueue: without a selector it takes jobs of no namespace
        (SELECTOR, True),
        ({"matchLabels": {"team": "others"}}, False),
        ({"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "pathology"]}]}, True),
        ({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["pathology"]}]}, False),
        ({"matchExpressions": [{"key": "team", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}, False),
        ({"matchExpressions": [{"key": "none", "operator": "DoesNotExist"}]}, True),
    ],
)
def test_a_namespace_that_the_queue_excludes(selector, expected):
    queue = cluster_queue(ENOUGH, namespaceSelector=selector)
    found = namespace_check("queue gpus", queue, "lab", {"team": "pathology"})
    assert found.ok is expected
    assert ("excludes namespace lab" in found.found) is not expected
