"""Whether a job's pods fit on nodes and into quotas, by templates of the chart and of hand."""

import pytest

from histoseg.doctor.capacity import gpu_check, head_check, quota_checks
from histoseg.errors import ClusterError
from histoseg.kube.objects import Node, ResourceQuota, read
from tests.charts.conftest import helm, rendered  # noqa: F401 # fixtures
from tests.charts.rendering import ray_job as template_of
from tests.doctor.release import WORKER, node_with
from tests.kube.example import GONE, GPU_NAMES, ray_job, spoilt

NO_SELECTOR = {f"{WORKER}.template.spec.nodeSelector": {}}


def gpus(template, *nodes):
    return gpu_check(template, [read(Node, each, "a node") for each in nodes])


def quota(template, hard, used=()):
    found = {"metadata": {"name": "lab"}, "status": {"hard": hard, "used": dict(used)}}
    (check,) = quota_checks(template, [read(ResourceQuota, found, "a quota")])
    return check


@pytest.mark.parametrize(("memory", "allowed"), [("1544Mi", 4), ("1540Mi", 2), ("1538Mi", 1)])
def test_the_head_has_memory_for_as_many_runs_as_the_workers_have_room_for(memory, allowed):
    """1536 MiB for Ray and the driver, 2 for each run; the example has 2 GPUs."""
    limits = "spec.rayClusterSpec.headGroupSpec.template.spec.containers.0.resources.limits"
    check = head_check(spoilt(ray_job(), {limits: {"memory": memory}}))
    assert check.ok is (allowed >= 2)
    assert check.found == f"memory for {allowed} runs at a time, and workers for 2"


# The example asks for 2 pods with 1 GPU each.
@pytest.mark.parametrize(
    ("nodes", "fits"),
    [
        ([node_with("a", 1), node_with("b", 1)], 2),
        ([node_with("a", 2)], 2),
        ([node_with("a", 1)], 1),
        ([], 0),
        ([{**node_with("a", 8), "spec": {"unschedulable": True}}, node_with("b", 1)], 1),
    ],
)
def test_gpus_fit_on_nodes(nodes, fits):
    check = gpus(ray_job(), *nodes)
    assert check.ok == (fits == 2)
    assert check.found.startswith(f"2 asked for, {fits} fit")


def test_a_pod_fits_on_one_node_that_it_selects():
    """Two pods of 4: eight single GPUs hold none, and of nodes with four only the one with the label counts."""
    edits = {
        f"{WORKER}.template.spec.containers.0.resources.limits.nvidia\\.com/gpu": "4",
        f"{WORKER}.template.spec.nodeSelector": {"gpu": "a100"},
    }
    template = spoilt(ray_job(), edits)
    single = [node_with(f"n{i}", 1, gpu="a100") for i in range(8)]
    assert gpus(template, *single).found == "8 asked for, 0 fit on the current nodes, which have 8"
    found = gpus(template, node_with("a", 4), node_with("b", 4, gpu="a100")).found
    assert found == "8 asked for, 4 fit on the current nodes, which have 8"


def test_network_cards_of_a_pod_are_no_gpus():
    """Two pods of one GPU each."""
    template = spoilt(ray_job(), {f"{WORKER}.template.spec.containers.0.resources.limits.rdma/hca": "1"})
    assert gpus(template, node_with("a", 4)).found == "2 asked for, 2 fit on the current nodes, which have 4"


def test_parts_of_gpus_fit_on_nodes_with_such_parts():
    """Two pods with a seventh of a GPU each; a node's whole GPU counts as one, but holds no such part."""
    limits = f"{WORKER}.template.spec.containers.0.resources.limits"
    template = spoilt(ray_job(), {f"{limits}.nvidia\\.com/gpu": GONE, f"{limits}.nvidia\\.com/mig-1g\\.5gb": "1"})
    cut = {"metadata": {"name": "b"}, "spec": {}, "status": {"allocatable": {"nvidia.com/mig-1g.5gb": "7"}}}
    assert gpus(template, node_with("a", 1), cut).found == "2 asked for, 2 fit on the current nodes, which have 8"


def test_other_devices_of_a_node_are_not_counted():
    card = {**node_with("a", 4)["status"]["allocatable"], "rdma/hca": "1000"}
    found = gpus(ray_job(), {**node_with("a", 4), "status": {"allocatable": card}}).found
    assert found == "2 asked for, 2 fit on the current nodes, which have 4"


def test_without_the_autoscaler_there_are_as_many_workers_as_replicas():
    assert gpus(spoilt(ray_job(), {f"{WORKER}.maxReplicas": 9})).found.startswith("2 asked for")


@pytest.mark.parametrize("name", GPU_NAMES)
def test_gpus_of_every_name_that_the_chart_takes_are_counted(name, rendered):  # noqa: F811 # a fixture
    """The job of ci/gpu-values.yaml: two pods of four GPUs are eight, of which one pod fits on a node with six."""
    template = template_of(rendered("gpu", f"workerGroups[0].gpuResource={name}"))
    there = {"metadata": {"name": "a"}, "status": {"allocatable": {"cpu": "64", name: "6"}}}
    found = gpus(spoilt(template, NO_SELECTOR), there).found
    assert found == "8 asked for, 4 fit on the current nodes, which have 6"
    check = quota(template, {f"requests.{name}": "7"})
    assert (check.ok, check.found) == (False, f"requests.{name} 8 of 7 (0 used)")


def test_a_quota_of_exactly_as_much_suffices():
    """0.1 + 2 x 0.1 CPU, which is more than 0.3 in floating point."""
    cpu = "spec.containers.0.resources.requests.cpu"
    head, submitter = "spec.rayClusterSpec.headGroupSpec.template", "spec.submitterPodTemplate"
    edits = {f"{head}.{cpu}": "100m", f"{WORKER}.template.{cpu}": "100m", f"{submitter}.{cpu}": "0"}
    assert quota(spoilt(ray_job(), edits), {"cpu": "300m"}).ok


def test_a_quota_is_compared_with_the_sum_of_all_pods():
    """Head 2 CPU and 4 Gi, two workers of 4 and 16, submitter 1 and 1: 11 CPU, 37 Gi, 2 GPUs, 4 pods."""
    hard = {"requests.nvidia.com/gpu": "1", "cpu": "11", "limits.memory": "37Gi", "pods": "3", "configmaps": "10"}
    check = quota(ray_job(), hard, used={"cpu": "500m"})
    assert not check.ok
    assert check.found == (
        f"cpu 11 of 11 (0.5 used); limits.memory {37 * 2**30:g} of {37 * 2**30:g} (0 used); "
        "pods 4 of 3 (0 used); requests.nvidia.com/gpu 2 of 1 (0 used)"
    )
    assert check.advice.startswith("ask for more pods, requests.nvidia.com/gpu, or")


def test_a_quota_may_be_written_with_any_suffix():
    """The same 37 Gi and 11 CPUs."""
    check = quota(ray_job(), {"limits.memory": "1Pi", "memory": "40e9", "limits.cpu": "11000m", "cpu": "1E"})
    assert check.ok
    assert f"limits.memory {37 * 2**30:g} of {2**50:g}" in check.found


def test_a_quota_that_cannot_be_read_is_named():
    with pytest.raises(ClusterError, match="'many' in quota lab"):
        quota(ray_job(), {"cpu": "many"})


def test_the_autoscaler_and_the_pods_that_it_may_add_are_counted():
    """It adds 0.5 CPU and 1 Gi to the head of the example, and a third worker of 4 CPUs and 16 Gi."""
    half = {"cpu": "500m", "memory": "1Gi"}
    edits = {
        "spec.rayClusterSpec.enableInTreeAutoscaling": True,
        "spec.rayClusterSpec.autoscalerOptions": {"version": "v2", "resources": {"requests": half, "limits": half}},
        f"{WORKER}.maxReplicas": 3,
    }
    check = quota(spoilt(ray_job(), edits), {"cpu": "15500m", "limits.memory": "53Gi", "pods": "5"})
    memory = f"{54 * 2**30:g} of {53 * 2**30:g}"
    assert check.found == f"cpu 15.5 of 15.5 (0 used); limits.memory {memory} (0 used); pods 5 of 5 (0 used)"
    assert check.advice.startswith("ask for more limits.memory, or")
