"""The rules of a RayJob, and of what it deletes when it is over."""

import pytest

from tests.kube.broken import (
    AUTOSCALED,
    CLUSTER,
    HEAD_POD,
    OWN_MODE,
    SELECTED,
    UNTIMED,
    cases,
    names,
    told,
)
from tests.kube.example import GONE, ray_job, spoilt


def deletion(policy, seconds=0, state="SUCCEEDED"):
    return {"policy": policy, "condition": {"jobStatus": state, "ttlSeconds": seconds}}


def deleting(*rules):
    return {**UNTIMED, "spec.deletionStrategy.deletionRules": list(rules)}


JOBS = {
    "has_a_name": [
        (
            {"metadata.name": "a" * 48},
            f'metadata.name is "{"a" * 48}"; use at most 47 of a-z, 0-9 and -, a letter first and no - last',
        ),
        (
            {"metadata.name": "1-table"},
            'metadata.name is "1-table"; use at most 47 of a-z, 0-9 and -, a letter first and no - last',
        ),
        (
            {"metadata.name": GONE},
            "metadata.name is missing; use at most 47 of a-z, 0-9 and -, a letter first and no - last",
        ),
    ],
    "has_an_entrypoint": [
        ({"spec.entrypoint": GONE}, "spec.entrypoint is missing; give the command to run"),
    ],
    "knows_its_mode": [
        (
            {"spec.submissionMode": "K8SJobMode"},
            'spec.submissionMode is "K8SJobMode"; choose K8sJobMode, HTTPMode, InteractiveMode, SidecarMode',
        ),
    ],
    "has_one_cluster": [
        ({CLUSTER: GONE}, f"{CLUSTER} is missing; give one, or a clusterSelector"),
        (
            {**SELECTED, "spec.clusterSelector": {"app": "x"}},
            "spec.clusterSelector[ray.io/cluster] is missing; name the cluster to run on",
        ),
    ],
    "sidecar_stands_alone": [
        (
            {"spec.submissionMode": "SidecarMode"},
            'spec.submitterPodTemplate is "set"; SidecarMode has no use for it; leave it out',
        ),
        (
            {**OWN_MODE, "spec.submissionMode": "SidecarMode", f"{HEAD_POD}.restartPolicy": "Always"},
            f'{HEAD_POD}.restartPolicy is "Always"; SidecarMode needs Never',
        ),
    ],
    "retries_where_it_can": [
        ({**SELECTED, "spec.backoffLimit": 1}, "spec.backoffLimit is 1; clusterSelector allows no retry; use 0"),
        (
            {**OWN_MODE, "spec.submissionMode": "InteractiveMode", "spec.backoffLimit": 1},
            "spec.backoffLimit is 1; InteractiveMode allows no retry; use 0",
        ),
        ({"spec.backoffLimit": -1}, "spec.backoffLimit is -1; use 0 or more"),
    ],
    "keeps_finished_only_if_shut_down": [
        (
            {"spec.shutdownAfterJobFinishes": False},
            "spec.ttlSecondsAfterFinished is 600; it needs shutdownAfterJobFinishes: true",
        ),
        ({"spec.ttlSecondsAfterFinished": -1}, "spec.ttlSecondsAfterFinished is -1; use 0 or more"),
    ],
    "suspends_what_it_may": [
        ({**UNTIMED, "spec.suspend": True}, "spec.suspend is true; it needs shutdownAfterJobFinishes: true"),
        (
            {**SELECTED, "spec.suspend": True},
            "spec.suspend is true; clusterSelector allows no suspension; leave one out",
        ),
    ],
    "has_positive_deadlines": [
        ({"spec.activeDeadlineSeconds": 0}, "spec.activeDeadlineSeconds is 0; use 1 or more"),
        ({"spec.preRunningDeadlineSeconds": -5}, "spec.preRunningDeadlineSeconds is -5; use 1 or more"),
    ],
    "gpus_have_a_deadline": [
        (
            {"spec.activeDeadlineSeconds": GONE},
            "spec.activeDeadlineSeconds is missing; worker group gpu has GPUs, so set after how long the job is ended",
        ),
        (
            {
                "spec.activeDeadlineSeconds": GONE,
                f"{CLUSTER}.workerGroupSpecs.0.template.spec.containers.0.resources": {
                    "limits": {"nvidia.com/gpu": 0, "nvidia.com/mig-1g.5gb": 1}
                },
            },
            "spec.activeDeadlineSeconds is missing; worker group gpu has GPUs, so set after how long the job is ended",
        ),
    ],
    "needs_no_kubernetes_token": [
        (
            {f"{CLUSTER}.authOptions.enableK8sTokenAuth": True},
            f"{CLUSTER}.authOptions.enableK8sTokenAuth is true; a RayJob cannot use it; leave it out, "
            "authOptions.mode is enough",
        ),
    ],
    "leaves_upgrades_alone": [
        (
            {f"{CLUSTER}.upgradeStrategy": {"type": "Recreate"}},
            f'{CLUSTER}.upgradeStrategy.type is "Recreate"; only a RayCluster of its own can be upgraded; leave it out',
        ),
    ],
    "runtime_env_is_harmless": [
        ({"spec.runtimeEnvYAML": "a: [1"}, 'spec.runtimeEnvYAML is "no YAML"; correct it, or leave it out'),
        (
            {"spec.runtimeEnvYAML": "env_vars:\n  B: '1'\n  A: hush\n"},
            "spec.runtimeEnvYAML.env_vars is \"A, B\"; Ray's dashboard shows these; set them in the containers' env, "
            "secrets by secretKeyRef",
        ),
    ],
    "submitter_ends": [
        (
            {"spec.submitterPodTemplate.spec.restartPolicy": GONE},
            "spec.submitterPodTemplate.spec.restartPolicy is missing; a Job's pods need Never or OnFailure",
        ),
    ],
    "submitter_is_given": [
        (
            {"spec.submitterPodTemplate": GONE},
            "spec.submitterPodTemplate is missing; give one with a security context; KubeRay's own has none",
        ),
    ],
    "says_what_to_delete": [
        (
            {"spec.deletionStrategy": {"onSuccess": {"policy": "DeleteSelf"}}},
            "spec.deletionStrategy.deletionRules is missing; say what is deleted, or leave the block out",
        ),
        (
            {
                **deleting(deletion("DeleteSelf")),
                "spec.deletionStrategy.onFailure": {"policy": "DeleteSelf"},
            },
            'spec.deletionStrategy.onFailure is "set"; deletionRules replace it; leave it out',
        ),
    ],
    "deletes_in_one_way": [
        (
            {**deleting(deletion("DeleteSelf")), "spec.shutdownAfterJobFinishes": True},
            "spec.shutdownAfterJobFinishes is true; deletionRules take its place; leave one of them out",
        ),
        (
            {"spec.deletionStrategy": {"onSuccess": {"policy": "DeleteNone"}, "onFailure": {"policy": "DeleteSelf"}}},
            "spec.shutdownAfterJobFinishes is true; the policy DeleteNone says the opposite; leave one of them out",
        ),
    ],
    "deletes_what_it_may": [
        (
            {**AUTOSCALED, **deleting(deletion("DeleteWorkers"))},
            'spec.deletionStrategy.deletionRules[0].policy is "DeleteWorkers"; '
            "the autoscaler would bring them back; use DeleteCluster",
        ),
        (
            {**SELECTED, **deleting(deletion("DeleteCluster"))},
            'spec.deletionStrategy.deletionRules[0].policy is "DeleteCluster"; '
            "the cluster that clusterSelector names is not the job's own",
        ),
    ],
    "deletes_once_and_in_order": [
        (
            deleting(deletion("DeleteSelf"), deletion("DeleteSelf", 5)),
            'spec.deletionStrategy.deletionRules[1].policy is "DeleteSelf"; '
            "an earlier rule says what SUCCEEDED does; leave one of them out",
        ),
        (
            deleting(deletion("DeleteCluster", 60), deletion("DeleteSelf", 30)),
            "spec.deletionStrategy.deletionRules[SUCCEEDED/DeleteSelf].condition.ttlSeconds is 30; "
            "DeleteCluster comes first; use 60 or more",
        ),
    ],
}


@pytest.mark.parametrize(("edits", "line"), cases(JOBS))
def test_a_job_that_breaks_one_rule(edits, line):
    assert told(spoilt(ray_job(), edits)) == [line]


def test_every_rule_is_broken_by_some_case():
    from histoseg.kube.rules import deletion, rayjob

    assert names(rayjob.RULES, deletion.RULES) == {*JOBS}


@pytest.mark.parametrize(
    "edits",
    [
        deleting(deletion("DeleteWorkers", 10), deletion("DeleteCluster", 10), deletion("DeleteSelf", 60, "FAILED")),
        {"spec.runtimeEnvYAML": "config:\n  setup_timeout_seconds: 60\n"},
    ],
)
def test_what_breaks_no_rule(edits):
    assert told(spoilt(ray_job(), edits)) == []
