"""What the controllers of KubeRay and Kueue refuse, or do wrong in silence, though the CRDs' schemas accept it.

An API server cannot check these. A user's values can break them only by job.spec and cluster.spec. Functions named
here are in KubeRay 1.7's ray-operator/controllers/ray/utils/validation.go, unless a file is given; those of Kueue 0.19
are in pkg/controller/jobs/rayjob and raycluster.
"""

import re
from collections.abc import Iterator
from typing import Any

QUEUE = "kueue.x-k8s.io/queue-name"
MAX_POD_SETS = 18  # Of a workload of Kueue: spec.podSets of its CRD

# Fields that the chart does not write, and the rule to obey for one that it should come to write.
UNUSED = {
    "spec.clusterSelector": "excludes backoffLimit, suspend, and Kueue (ValidateRayJobSpec, validateCreate of Kueue)",
    "spec.deletionStrategy": "excludes shutdownAfterJobFinishes; times in the order workers, cluster, self "
    "(validateDeletionConfiguration, validateTTLConsistency)",
    "spec.runtimeEnvYAML": "Ray's dashboard shows its env_vars",
    "spec.rayClusterSpec.upgradeStrategy": "excluded in a RayJob (ValidateRayClusterUpgradeOptions)",
}
UNUSED_IN_CLUSTER = {
    "authOptions.enableK8sTokenAuth": "excluded in a RayJob; else mode token, Ray 2.55, no secretName",
    "gcsFaultToleranceOptions": "excludes the annotation ray.io/ft-enabled and Redis' variables and start parameters; "
    "the backend rocksdb needs a feature gate (validateGcsFaultToleranceBackend)",
    "networkPolicy": "needs the feature gate RayClusterNetworkPolicy, which is off (pkg/features/features.go)",
    "tlsOptions": "needs the feature gate RayClusterMTLS, which is off",
    "historyServerOptions": "needs the feature gate RayClusterHistoryServer, which is off",
}
UNUSED_IN_GROUP = {
    "resources": "excludes the same in rayStartParams (validateRayGroupResources)",
    "rayStartParams.labels": "KubeRay refuses it (validateRayGroupLabels)",
    "rayStartParams.redis-password": "excludes gcsFaultToleranceOptions",
    "suspend": "excludes the autoscaler, which would start the group again",
    "idleTimeoutSeconds": "needs autoscaler v2 (validateWorkerGroupIdleTimeout)",
    "priority": "needs autoscaler v2 and Ray 2.56 (validateWorkerGroupPriority)",
}
UNUSED_VARIABLES = {
    "RAY_enable_autoscaler_v2": "autoscalerOptions.version says it",
    "RAY_REDIS_ADDRESS": "asks for fault tolerance of the GCS",
    "KUBERAY_GEN_AUTOSCALER_START_CMD": "KubeRay sets it",
}


def faults(document: dict[str, Any]) -> list[str]:
    """What is wrong with a RayJob, its template, or a RayCluster; each line begins with the field's path."""
    if document["kind"] == "RayJob":
        return [*_job_faults(document), *_cluster_faults(document, "spec.rayClusterSpec", submitter=True)]
    if document["kind"] == "RayCluster":
        return [*_ray_cluster_faults(document), *_cluster_faults(document, "spec", submitter=False)]
    return []


def at(tree: Any, path: str) -> Any:
    """What lies at a dotted path; None if nothing does."""
    for name in path.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def _used(tree: dict[str, Any], rules: dict[str, str], where: str = "") -> Iterator[str]:
    yield from (f"{where}{path}: {rule}" for path, rule in rules.items() if at(tree, path) is not None)


def _job_faults(job: dict[str, Any]) -> Iterator[str]:
    yield from _used(job, UNUSED)
    spec = job["spec"]
    if spec.get("submissionMode") != "K8sJobMode":
        yield "spec.submissionMode: other modes exclude a submitterPodTemplate; common/job.go knows no unknown one"
    if spec.get("shutdownAfterJobFinishes") is not True:
        yield "spec.shutdownAfterJobFinishes: ttlSecondsAfterFinished needs it, and Kueue (validateCreate)"
    least = {"ttlSecondsAfterFinished": 0, "backoffLimit": 0}
    least |= {"activeDeadlineSeconds": 1, "preRunningDeadlineSeconds": 1}  # A job that hangs must not hold its GPUs
    for name, number in least.items():
        if (spec.get(name) if spec.get(name) is not None else -1) < number:
            yield f"spec.{name}: must be {number} or more (ValidateRayJobSpec)"
    if at(job, "spec.submitterPodTemplate.spec.restartPolicy") not in ("Never", "OnFailure"):
        yield "spec.submitterPodTemplate.spec.restartPolicy: a Job's pods need Never or OnFailure"


def _ray_cluster_faults(document: dict[str, Any]) -> Iterator[str]:
    name = document["metadata"]["name"]
    if len(name) > 53 or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        yield "metadata.name: at most 53 of a-z, 0-9 and - (ValidateRayClusterMetadata)"
    if at(document, "spec.upgradeStrategy.type") not in (None, "Recreate", "None"):
        yield "spec.upgradeStrategy.type: Recreate or None (ValidateRayClusterUpgradeOptions)"


def _cluster_faults(document: dict[str, Any], where: str, *, submitter: bool) -> Iterator[str]:
    cluster = at(document, where)
    workers = [(f"{where}.workerGroupSpecs.{i}", group) for i, group in enumerate(cluster["workerGroupSpecs"])]
    groups = [(f"{where}.headGroupSpec", cluster["headGroupSpec"]), *workers]
    yield from _used(cluster, UNUSED_IN_CLUSTER, f"{where}.")
    for path, group in groups:
        yield from _group_faults(path, group)
    for path, group in workers:
        if not 0 <= group.get("minReplicas", -1) <= group.get("maxReplicas", -1):
            yield f"{path}.minReplicas: 0 or more, at most maxReplicas; the default maximum is 2147483647 pods"
    names = [group["groupName"] for _, group in workers]
    if len(set(names)) < len(names):
        yield f"{where}.workerGroupSpecs: KubeRay counts a group's pods by the label ray.io/group, so by its name"
    version = tuple(map(int, str(cluster.get("rayVersion", "0.0")).split(".")[:2]))
    if at(cluster, "authOptions.mode") == "token" and version < (2, 52):
        yield f"{where}.rayVersion: token authentication needs 2.52 (ValidateRayClusterSpec)"
    if cluster.get("enableInTreeAutoscaling"):
        yield from _autoscaler_faults(where, cluster, groups)
    if QUEUE in document["metadata"]["labels"]:
        yield from _queue_faults(where, cluster, names, ["head", *(["submitter"] if submitter else [])])


def _group_faults(path: str, group: dict[str, Any]) -> Iterator[str]:
    yield from _used(group, UNUSED_IN_GROUP, f"{path}.")
    containers = group["template"]["spec"].get("containers") or []
    if not containers:
        yield f"{path}.template.spec.containers: must not be empty (ValidateRayClusterSpec)"
    variables = {each["name"]: "" for container in containers for each in container.get("env") or []}
    yield from _used(variables, UNUSED_VARIABLES, f"{path}.template.spec.containers.env.")


def _autoscaler_faults(where: str, cluster: dict[str, Any], groups: list[tuple[str, Any]]) -> Iterator[str]:
    options = cluster.get("autoscalerOptions") or {}
    if options.get("version") != "v2":
        yield f"{where}.autoscalerOptions.version: the chart's pods are written for v2"
    if options.get("idleTimeoutSeconds", 0) < 0:
        yield f"{where}.autoscalerOptions.idleTimeoutSeconds: must be 0 or more"
    for path, group in groups:
        if group["template"]["spec"].get("restartPolicy") != "Never":
            yield f"{path}.template.spec.restartPolicy: autoscaler v2 replaces pods itself, so Never"
    variables = {each["name"]: "" for each in options.get("env") or []}
    yield from _used(variables, UNUSED_VARIABLES, f"{where}.autoscalerOptions.env.")


def _queue_faults(where: str, cluster: dict[str, Any], names: list[str], taken: list[str]) -> Iterator[str]:
    if cluster.get("enableInTreeAutoscaling"):
        yield f"{where}.enableInTreeAutoscaling: only with the annotation kueue.x-k8s.io/elastic-job"
    if len(names) > MAX_POD_SETS - len(taken):
        yield f"{where}.workerGroupSpecs: at most {MAX_POD_SETS - len(taken)} beside {taken} (PodSets)"
    if {name.lower() for name in names} & {*taken}:
        yield f"{where}.workerGroupSpecs: {taken} are names of Kueue's own (NewPodSetReference)"
