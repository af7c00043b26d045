"""Each case is a manifest that breaks one rule; where the rule is from is told at the rule."""

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


def deletion(policy, seconds=0, state="SUCCEEDED"):
    return {"policy": policy, "condition": {"jobStatus": state, "ttlSeconds": seconds}}


def deleting(*rules):
    return {**UNTIMED, "spec.deletionStrategy.deletionRules": list(rules)}


def env(name, value):
    return {"name": name, "value": value}


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
            {
                **QUEUED,
                f"{CLUSTER}.workerGroupSpecs": [
                    {"groupName": f"g{i}", "minReplicas": 0, "maxReplicas": 1, "template": pod("w", {"cpu": 1})}
                    for i in range(18)
                ],
            },
            f"{CLUSTER}.workerGroupSpecs is 18; a job in a queue has at most 17 worker groups",
        ),
        (
            {**QUEUED, f"{WORKER}.groupName": "head"},
            f'{SHOWN_WORKER}.groupName is "head"; Kueue keeps that for the head; rename it',
        ),
    ],
    "scales_as_a_queue_allows": [
        (
            {**QUEUED, **AUTOSCALED},
            f"{CLUSTER}.enableInTreeAutoscaling is true; a job in a queue scales only with the annotation "
            'kueue.x-k8s.io/elastic-job: "true"',
        ),
    ],
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
    "keeps_off_the_host": [
        (
            {f"{WORKER_POD}.hostNetwork": True},
            f"{SHOWN_WORKER}.template.spec.hostNetwork is true; Pod Security forbids it; leave it out",
        ),
        (
            {f"{WORKER_POD}.containers.0.ports": [{"containerPort": 8080, "hostPort": 80}]},
            f"{SHOWN_CONTAINER}.ports[0].hostPort is 80; Pod Security forbids it; leave it out",
        ),
        (
            {f"{WORKER_POD}.volumes.1": {"name": "raw", "hostPath": {"path": "/data"}}},
            f'{SHOWN_WORKER}.template.spec.volumes[raw] is "hostPath"; Pod Security allows configMap, csi, '
            "downwardAPI, emptyDir, ephemeral, persistentVolumeClaim, projected, secret",
        ),
    ],
    "is_not_root": [
        (
            {f"{WORKER_POD}.securityContext.runAsNonRoot": GONE},
            f"{SHOWN_CONTAINER}.securityContext.runAsNonRoot is missing; Pod Security needs true, here or in the pod",
        ),
        (
            {f"{WORKER_POD}.containers.0.securityContext.runAsNonRoot": False},
            f"{SHOWN_CONTAINER}.securityContext.runAsNonRoot is false; Pod Security needs true, here or in the pod",
        ),
        (
            {f"{WORKER_POD}.securityContext.seccompProfile": {"type": "Unconfined"}},
            f'{SHOWN_CONTAINER}.securityContext.seccompProfile.type is "Unconfined"; '
            "Pod Security needs RuntimeDefault, here or in the pod",
        ),
        (
            {f"{WORKER_POD}.securityContext.runAsUser": 0},
            f"{SHOWN_CONTAINER}.securityContext.runAsUser is 0; Pod Security forbids root",
        ),
    ],
    "has_no_privileges": [
        (
            {f"{WORKER_POD}.containers.0.securityContext.privileged": True},
            f"{SHOWN_CONTAINER}.securityContext.privileged is true; Pod Security forbids it; leave it out",
        ),
        (
            {f"{WORKER_POD}.containers.0.securityContext.allowPrivilegeEscalation": GONE},
            f"{SHOWN_CONTAINER}.securityContext.allowPrivilegeEscalation is missing; Pod Security needs false",
        ),
        (
            {"spec.submitterPodTemplate.spec.containers.0.securityContext.capabilities": {"drop": ["NET_RAW"]}},
            "spec.submitterPodTemplate.spec.containers[0].securityContext.capabilities.drop is "
            '["NET_RAW"]; Pod Security needs [ALL]',
        ),
        (
            {f"{WORKER_POD}.containers.0.securityContext.capabilities.add": ["SYS_PTRACE"]},
            f'{SHOWN_CONTAINER}.securityContext.capabilities.add is ["SYS_PTRACE"]; Pod Security forbids it',
        ),
    ],
    "hides_secrets": [
        (
            {
                f"{WORKER_POD}.initContainers": [
                    {"name": "fetch", "securityContext": security(), "env": [env("AWS_SECRET_ACCESS_KEY", "hush")]}
                ]
            },
            f"{SHOWN_WORKER}.template.spec.initContainers[0].env[AWS_SECRET_ACCESS_KEY] is "
            '"a literal"; take it from a Secret by valueFrom.secretKeyRef',
        ),
    ],
    "autoscaler_is_restricted": [
        (
            {**AUTOSCALED, f"{CLUSTER}.autoscalerOptions.securityContext.capabilities": GONE},
            f"{CLUSTER}.autoscalerOptions.securityContext.capabilities.drop is missing; Pod Security needs [ALL]",
        ),
        (
            {**AUTOSCALED, f"{CLUSTER}.autoscalerOptions.env": [env("API_TOKEN", "hush")]},
            f'{CLUSTER}.autoscalerOptions.env[API_TOKEN] is "a literal"; '
            "take it from a Secret by valueFrom.secretKeyRef",
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


def cases(table):
    return [pytest.param(*case, id=f"{name}-{i}") for name, group in table.items() for i, case in enumerate(group)]


@pytest.mark.parametrize(("edits", "line"), cases(JOBS))
def test_a_job_that_breaks_one_rule(edits, line):
    from histoseg.kube.rules import faults

    broken = spoilt(ray_job(), edits)
    assert faults([broken]) == [f"RayJob/{broken['metadata'].get('name', '?')}: {line}"]


@pytest.mark.parametrize(("edits", "line"), cases(CLUSTERS))
def test_a_cluster_that_breaks_one_rule(edits, line):
    from histoseg.kube.rules import faults

    broken = spoilt(ray_cluster(), edits)
    assert faults([broken]) == [f"RayCluster/{broken['metadata']['name']}: {line}"]


def test_every_rule_is_broken_by_some_case():
    from histoseg.kube import rules

    tables = (
        rules.rayjob.RULES,
        rules.deletion.RULES,
        rules.kueue.JOB_RULES,
        rules.raycluster.RULES,
        rules.raycluster.DOCUMENT_RULES,
        rules.kueue.CLUSTER_RULES,
        rules.pods.RULES,
        (rules.pods.autoscaler_is_restricted,),
    )
    assert {rule.__name__ for table in tables for rule in table} == {*JOBS, *CLUSTERS}


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
        deleting(deletion("DeleteWorkers", 10), deletion("DeleteCluster", 10), deletion("DeleteSelf", 60, "FAILED")),
        {**AUTOSCALED, f"{WORKER}.priority": 3, f"{WORKER}.idleTimeoutSeconds": 0, f"{WORKER}.minReplicas": GONE},
        {"spec.runtimeEnvYAML": "config:\n  setup_timeout_seconds: 60\n"},
        {f"{CLUSTER}.gcsFaultToleranceOptions": {"redisAddress": "redis:6379"}},
        {f"{WORKER_POD}.containers.0.env.0": env("TOKENIZERS_PARALLELISM", "false")},
        {f"{WORKER_POD}.containers.0.env.0": env("HF_TOKEN", "")},
    ],
)
def test_what_breaks_no_rule(edits):
    from histoseg.kube.rules import faults

    assert faults([spoilt(ray_job(), edits), ray_cluster()]) == []


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


def test_a_secret_is_not_repeated():
    from histoseg.kube.rules import faults

    env = [{"name": "MY_PASSWORD", "value": "correct horse"}]
    lines = faults([spoilt(ray_job(), {f"{WORKER_POD}.containers.0.env": env})])
    assert len(lines) == 1
    assert "correct horse" not in lines[0]
