"""All that the chart renders obeys the rules of KubeRay's and Kueue's controllers."""

import pytest

from tests.charts.controller_rules import QUEUE, faults
from tests.charts.rendering import SCENARIOS, one, ray_job
from tests.kube.example import GONE, spoilt

CLUSTER = "spec.rayClusterSpec"
HEAD, WORKER = f"{CLUSTER}.headGroupSpec", f"{CLUSTER}.workerGroupSpecs.0"
QUEUED = {f"metadata.labels.{QUEUE.replace('.', chr(92) + '.')}": "lab"}


def copies(job, number):
    """The job with so many worker groups."""
    group = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    return {f"{CLUSTER}.workerGroupSpecs": [{**group, "groupName": f"g{i}"} for i in range(number)]}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_is_rendered_breaks_no_rule(scenario, rendered):
    objects = rendered(scenario)
    assert [line for each in [*objects, ray_job(objects)] for line in faults(each)] == []


@pytest.mark.parametrize(
    ("edits", "field"),
    [
        ({"spec.submissionMode": "HTTPMode"}, "spec.submissionMode"),
        ({"spec.shutdownAfterJobFinishes": GONE}, "spec.shutdownAfterJobFinishes"),
        ({"spec.ttlSecondsAfterFinished": -1}, "spec.ttlSecondsAfterFinished"),
        ({"spec.backoffLimit": -1}, "spec.backoffLimit"),
        ({"spec.activeDeadlineSeconds": GONE}, "spec.activeDeadlineSeconds"),
        ({"spec.preRunningDeadlineSeconds": 0}, "spec.preRunningDeadlineSeconds"),
        ({"spec.submitterPodTemplate.spec.restartPolicy": GONE}, "spec.submitterPodTemplate.spec.restartPolicy"),
        ({"spec.deletionStrategy": {"deletionRules": []}}, "spec.deletionStrategy"),
        ({"spec.runtimeEnvYAML": "env_vars: {A: hush}"}, "spec.runtimeEnvYAML"),
        ({f"{CLUSTER}.upgradeStrategy": {"type": "Recreate"}}, f"{CLUSTER}.upgradeStrategy"),
        ({f"{CLUSTER}.authOptions.enableK8sTokenAuth": True}, f"{CLUSTER}.authOptions.enableK8sTokenAuth"),
        ({f"{CLUSTER}.tlsOptions": {"enabled": True}}, f"{CLUSTER}.tlsOptions"),
        ({f"{CLUSTER}.rayVersion": "2.51.2"}, f"{CLUSTER}.rayVersion"),
        ({f"{HEAD}.resources": {"CPU": "0"}}, f"{HEAD}.resources"),
        ({f"{WORKER}.rayStartParams.labels": "zone=a"}, f"{WORKER}.rayStartParams.labels"),
        ({f"{WORKER}.minReplicas": 3}, f"{WORKER}.minReplicas"),
        ({f"{WORKER}.maxReplicas": GONE}, f"{WORKER}.minReplicas"),
        ({f"{WORKER}.template.spec.containers": []}, f"{WORKER}.template.spec.containers"),
        (
            {f"{HEAD}.template.spec.containers.0.env.0": {"name": "RAY_REDIS_ADDRESS", "value": "redis:6379"}},
            f"{HEAD}.template.spec.containers.env.RAY_REDIS_ADDRESS",
        ),
        ({**QUEUED, f"{WORKER}.groupName": "Submitter"}, f"{CLUSTER}.workerGroupSpecs"),
    ],
)
def test_a_job_that_breaks_a_rule(edits, field, rendered):
    (line,) = faults(spoilt(ray_job(rendered("minimal")), edits))
    assert line.startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("edits", "field"),
    [
        ({f"{CLUSTER}.autoscalerOptions.version": "v1"}, f"{CLUSTER}.autoscalerOptions.version"),
        ({f"{CLUSTER}.autoscalerOptions.idleTimeoutSeconds": -1}, f"{CLUSTER}.autoscalerOptions.idleTimeoutSeconds"),
        (
            {f"{CLUSTER}.autoscalerOptions.env": [{"name": "KUBERAY_GEN_AUTOSCALER_START_CMD", "value": "x"}]},
            f"{CLUSTER}.autoscalerOptions.env.KUBERAY_GEN_AUTOSCALER_START_CMD",
        ),
        ({f"{WORKER}.template.spec.restartPolicy": "Always"}, f"{WORKER}.template.spec.restartPolicy"),
        (QUEUED, f"{CLUSTER}.enableInTreeAutoscaling"),
    ],
)
def test_a_job_with_the_autoscaler_that_breaks_a_rule(edits, field, rendered):
    (line,) = faults(spoilt(ray_job(rendered("autoscaling")), edits))
    assert line.startswith(f"{field}: ")


def test_groups_are_told_apart_and_fit_a_workload(rendered):
    """A workload of Kueue has 18 sets of pods: of a job 16 groups, the head and the submitter."""
    job = ray_job(rendered("kueue"))
    assert faults(spoilt(job, copies(job, 16))) == []
    assert len(faults(spoilt(job, copies(job, 17)))) == 1
    twice = {f"{CLUSTER}.workerGroupSpecs": job["spec"]["rayClusterSpec"]["workerGroupSpecs"] * 2}
    assert len(faults(spoilt(job, twice))) == 1


@pytest.mark.parametrize(
    ("edits", "field"),
    [
        ({"metadata.name": "a" * 54}, "metadata.name"),
        ({"spec.upgradeStrategy.type": "Rolling"}, "spec.upgradeStrategy.type"),
        ({"spec.gcsFaultToleranceOptions": {"redisAddress": "redis:6379"}}, "spec.gcsFaultToleranceOptions"),
    ],
)
def test_an_interactive_cluster_that_breaks_a_rule(edits, field, rendered):
    (line,) = faults(spoilt(one(rendered("interactive"), "RayCluster"), edits))
    assert line.startswith(f"{field}: ")
