"""The rules of a Ray cluster, in a RayJob or of its own."""

import pytest

from tests.kube.broken import (
    AUTOSCALED,
    CLUSTER,
    HEAD_POD,
    SHOWN_HEAD,
    SHOWN_WORKER,
    WORKER,
    WORKER_POD,
    cases,
    env,
    names,
    told,
)
from tests.kube.example import GONE, pod, ray_cluster, ray_job, spoilt

JOBS = {
    "groups_have_containers": [
        (
            {f"{WORKER_POD}.containers": [], "spec.activeDeadlineSeconds": 60},
            f"{SHOWN_WORKER}.template.spec.containers is missing; give the Ray container",
        ),
    ],
    "groups_say_resources_once": [
        (
            {f"{CLUSTER}.headGroupSpec.resources": {"CPU": "0"}},
            f'{CLUSTER}.headGroupSpec.rayStartParams.num-cpus is "0"; the group\'s resources say it too; keep one',
        ),
    ],
    "groups_have_labels": [
        (
            {f"{WORKER}.rayStartParams": {"labels": "zone=a"}},
            f'{SHOWN_WORKER}.rayStartParams.labels is "zone=a"; KubeRay refuses it; write the group\'s labels',
        ),
        (
            {f"{WORKER}.labels": {"zone": "a b", "ray.io/zone": "a", "empty": ""}},
            f'{SHOWN_WORKER}.labels[zone] is "a b"; Kubernetes has no such label',
        ),
    ],
    "workers_have_bounds": [
        (
            {f"{WORKER}.maxReplicas": GONE},
            f"{SHOWN_WORKER}.maxReplicas is missing; give it, for nothing scales this group",
        ),
        ({f"{WORKER}.minReplicas": -1}, f"{SHOWN_WORKER}.minReplicas is -1; use 0 or more"),
        ({f"{WORKER}.minReplicas": 3}, f"{SHOWN_WORKER}.minReplicas is 3; maxReplicas is 2; use no more"),
    ],
    "workers_have_names": [
        (
            {
                f"{CLUSTER}.workerGroupSpecs.1": {
                    "groupName": "gpu",
                    "minReplicas": 0,
                    "maxReplicas": 1,
                    "template": pod("w", {"cpu": 1}),
                }
            },
            f'{CLUSTER}.workerGroupSpecs[1].groupName is "gpu"; give every worker group a name of its own',
        ),
    ],
    "token_needs_a_version": [
        (
            {f"{CLUSTER}.rayVersion": GONE},
            f"{CLUSTER}.rayVersion is missing; token authentication needs 2.52.0 or later",
        ),
        (
            {f"{CLUSTER}.rayVersion": "2.51.2"},
            f'{CLUSTER}.rayVersion is "2.51.2"; token authentication needs 2.52.0 or later',
        ),
    ],
    "autoscaler_v2_restarts_nothing": [
        (
            {**AUTOSCALED, f"{WORKER_POD}.restartPolicy": "Always"},
            f'{SHOWN_WORKER}.template.spec.restartPolicy is "Always"; autoscaler v2 replaces pods itself; use Never',
        ),
    ],
    "autoscaler_v2_is_switched_once": [
        (
            {f"{HEAD_POD}.containers.0.env.0": env("RAY_enable_autoscaler_v2", "1")},
            f'{SHOWN_HEAD}.env[RAY_enable_autoscaler_v2] is "1"; it needs enableInTreeAutoscaling: true',
        ),
        (
            {**AUTOSCALED, f"{HEAD_POD}.containers.0.env.0": env("RAY_enable_autoscaler_v2", "1")},
            f'{SHOWN_HEAD}.env[RAY_enable_autoscaler_v2] is "1"; autoscalerOptions.version says it; leave this out',
        ),
    ],
    "workers_suspend_without_autoscaler": [
        (
            {**AUTOSCALED, f"{WORKER}.suspend": True},
            f"{SHOWN_WORKER}.suspend is true; the autoscaler would start it again; leave it out",
        ),
    ],
    "workers_fit_the_autoscaler": [
        (
            {f"{WORKER}.idleTimeoutSeconds": 60},
            f"{SHOWN_WORKER}.idleTimeoutSeconds is 60; it needs autoscalerOptions.version: v2",
        ),
        (
            {**AUTOSCALED, f"{WORKER}.priority": 3, f"{CLUSTER}.rayVersion": "2.55.1"},
            f"{SHOWN_WORKER}.priority is 3; it needs rayVersion 2.56.0 or later",
        ),
    ],
    "needs_no_gate": [
        (
            {f"{CLUSTER}.networkPolicy": {"mode": "DenyAll"}},
            f'{CLUSTER}.networkPolicy is "set"; it needs KubeRay\'s feature gate RayClusterNetworkPolicy, '
            "which is off; leave it out",
        ),
        (
            {f"{CLUSTER}.tlsOptions": {"enabled": True}},
            f'{CLUSTER}.tlsOptions is "set"; it needs KubeRay\'s feature gate RayClusterMTLS, which is off; '
            "leave it out",
        ),
        (
            {f"{CLUSTER}.gcsFaultToleranceOptions": {"backend": "rocksdb"}},
            f'{CLUSTER}.gcsFaultToleranceOptions.backend is "rocksdb"; it needs KubeRay\'s feature gate '
            "GCSFaultToleranceEmbeddedStorage, which is off; leave it out",
        ),
        (
            {f"{CLUSTER}.historyServerOptions": {"collectorOptions": {}}},
            f'{CLUSTER}.historyServerOptions is "set"; it needs KubeRay\'s feature gate RayClusterHistoryServer, '
            "which is off; leave it out",
        ),
    ],
    "redis_is_set_once": [
        (
            {
                f"{CLUSTER}.gcsFaultToleranceOptions": {"redisAddress": "redis:6379"},
                r"metadata.annotations": {"ray.io/ft-enabled": "true"},
            },
            'metadata.annotations[ray.io/ft-enabled] is "true"; say it in gcsFaultToleranceOptions alone',
        ),
        (
            {f"{HEAD_POD}.containers.0.env.0": env("RAY_REDIS_ADDRESS", "redis:6379")},
            f'{SHOWN_HEAD}.env[RAY_REDIS_ADDRESS] is "set"; say it in gcsFaultToleranceOptions alone',
        ),
        (
            {
                f"{CLUSTER}.gcsFaultToleranceOptions": {"redisAddress": "redis:6379"},
                f"{CLUSTER}.headGroupSpec.rayStartParams.redis-password": "hush",
            },
            f'{CLUSTER}.headGroupSpec.rayStartParams.redis-password is "set"; say it in gcsFaultToleranceOptions alone',
        ),
        (
            {f"{CLUSTER}.gcsFaultToleranceOptions": {"redisAddress": "redis:6379", "storage": {"size": "1Gi"}}},
            f'{CLUSTER}.gcsFaultToleranceOptions.storage is "set"; the backend redis has none; leave it out',
        ),
    ],
    "autoscaler_is_sound": [
        (
            {**AUTOSCALED, f"{CLUSTER}.autoscalerOptions.idleTimeoutSeconds": -1},
            f"{CLUSTER}.autoscalerOptions.idleTimeoutSeconds is -1; use 0 or more",
        ),
        (
            {**AUTOSCALED, f"{CLUSTER}.autoscalerOptions.env": [env("KUBERAY_GEN_AUTOSCALER_START_CMD", "x")]},
            f"{CLUSTER}.autoscalerOptions.env[KUBERAY_GEN_AUTOSCALER_START_CMD] is "
            '"set"; KubeRay sets it; leave it out',
        ),
    ],
}
CLUSTERS = {
    "has_a_name": [
        (
            {"metadata.name": "a" * 54},
            f'metadata.name is "{"a" * 54}"; use at most 53 of a-z, 0-9 and -, a letter first and no - last',
        ),
    ],
    "upgrades_in_a_known_way": [
        (
            {"spec.upgradeStrategy": {"type": "Rolling"}},
            'spec.upgradeStrategy.type is "Rolling"; choose Recreate or None',
        ),
    ],
    "kubernetes_token_is_possible": [
        (
            {"spec.authOptions": {"enableK8sTokenAuth": True}},
            "spec.authOptions.enableK8sTokenAuth is true; it needs authOptions.mode: token",
        ),
        (
            {"spec.authOptions.enableK8sTokenAuth": True, "spec.rayVersion": "2.54.0"},
            "spec.authOptions.enableK8sTokenAuth is true; it needs rayVersion 2.55.0 or later",
        ),
        (
            {"spec.authOptions": {"mode": "token", "enableK8sTokenAuth": True, "secretName": "own"}},
            "spec.authOptions.enableK8sTokenAuth is true; authOptions.secretName excludes it; leave one of them out",
        ),
    ],
}


@pytest.mark.parametrize(("edits", "line"), cases(JOBS))
def test_a_job_that_breaks_one_rule(edits, line):
    assert told(spoilt(ray_job(), edits)) == [line]


@pytest.mark.parametrize(("edits", "line"), cases(CLUSTERS))
def test_a_cluster_that_breaks_one_rule(edits, line):
    assert told(spoilt(ray_cluster(), edits)) == [line]


def test_every_rule_is_broken_by_some_case():
    from histoseg.kube.rules import raycluster

    assert names(raycluster.RULES, raycluster.DOCUMENT_RULES) == {*JOBS, *CLUSTERS}


@pytest.mark.parametrize(
    "edits",
    [
        {**AUTOSCALED, f"{WORKER}.priority": 3, f"{WORKER}.idleTimeoutSeconds": 0, f"{WORKER}.minReplicas": GONE},
        {f"{CLUSTER}.gcsFaultToleranceOptions": {"redisAddress": "redis:6379"}},
    ],
)
def test_what_breaks_no_rule(edits):
    assert told(spoilt(ray_job(), edits)) == []
