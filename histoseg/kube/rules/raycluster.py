"""What KubeRay's controller asks of a Ray cluster beyond the schema of its CRD, in a RayJob or of its own.

Each rule yields what breaks it, and names the function that enforces it: those without a file are in KubeRay 1.7's
ray-operator/controllers/ray/utils/validation.go.
"""

import re
from collections.abc import Callable, Iterator

from histoseg.kube.rules.manifest import Cluster, Document, Finding, at

V2_SWITCH = "RAY_enable_autoscaler_v2"
# Fields that need a feature gate which is off by default (pkg/features/features.go: alpha in 1.7).
GATES = {
    "networkPolicy": "RayClusterNetworkPolicy",
    "tlsOptions": "RayClusterMTLS",
    "historyServerOptions": "RayClusterHistoryServer",
}
RESOURCES = ("num-cpus", "num-gpus", "memory", "resources")  # validateRayGroupResources
_LABEL = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_PREFIX = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"


def groups_have_containers(cluster: Cluster) -> Iterator[Finding]:
    """An empty pod (ValidateRayClusterSpec); the schema asks for the list, not for anything in it."""
    for group in cluster.groups:
        if not group.pod.spec.get("containers"):
            yield Finding(path=f"{group.pod.path}.containers", found=None, remedy="give the Ray container")


def groups_say_resources_once(cluster: Cluster) -> Iterator[Finding]:
    """Resources in two places (validateRayGroupResources)."""
    for group in cluster.groups:
        given = group.spec.get("rayStartParams") or {}
        twice = [name for name in RESOURCES if given.get(name)]
        if twice and group.spec.get("resources"):
            path, remedy = f"{group.path}.rayStartParams.{twice[0]}", "the group's resources say it too; keep one"
            yield Finding(path=path, found=given[twice[0]], remedy=remedy)


def groups_have_labels(cluster: Cluster) -> Iterator[Finding]:
    """Labels where they do not belong, or that are none (validateRayGroupLabels)."""
    for group in cluster.groups:
        if (found := (group.spec.get("rayStartParams") or {}).get("labels")) is not None:
            remedy = "KubeRay refuses it; write the group's labels"
            yield Finding(path=f"{group.path}.rayStartParams.labels", found=found, remedy=remedy)
        for key, value in (group.spec.get("labels") or {}).items():
            if not re.fullmatch(f"({_PREFIX}/)?{_LABEL}", key) or not re.fullmatch(f"({_LABEL})?", value):
                yield Finding(path=f"{group.path}.labels[{key}]", found=value, remedy="Kubernetes has no such label")


def workers_have_bounds(cluster: Cluster) -> Iterator[Finding]:
    """Bounds that are missing or crossed (ValidateRayClusterSpec); the schema's default is 2147483647 pods."""
    for group in cluster.workers:
        least, most = group.spec.get("minReplicas"), group.spec.get("maxReplicas")
        for name, number in (("minReplicas", least), ("maxReplicas", most)):
            if number is None and not cluster.autoscaling:
                yield Finding(path=f"{group.path}.{name}", found=None, remedy="give it, for nothing scales this group")
            if number is not None and number < 0:
                yield Finding(path=f"{group.path}.{name}", found=number, remedy="use 0 or more")
        if least is not None and most is not None and least > most >= 0:
            yield Finding(path=f"{group.path}.minReplicas", found=least, remedy=f"maxReplicas is {most}; use no more")


def workers_have_names(cluster: Cluster) -> Iterator[Finding]:
    """Groups of one name: ours, for KubeRay counts a group's pods by the label ray.io/group."""
    seen: set[str] = set()
    for group in cluster.workers:
        if not group.name or group.name in seen:
            remedy = "give every worker group a name of its own"
            yield Finding(path=f"{group.path}.groupName", found=group.name or None, remedy=remedy)
        seen.add(group.name)


def token_needs_a_version(cluster: Cluster) -> Iterator[Finding]:
    """A token without a Ray that knows it (ValidateRayClusterSpec)."""
    if at(cluster.spec, "authOptions.mode") == "token" and _version(cluster) < (2, 52):
        found = cluster.spec.get("rayVersion")
        yield Finding(
            path=f"{cluster.path}.rayVersion", found=found, remedy="token authentication needs 2.52.0 or later"
        )


def kubernetes_token_is_possible(cluster: Cluster) -> Iterator[Finding]:
    """A Kubernetes token where it cannot be (ValidateRayClusterSpec)."""
    path = f"{cluster.path}.authOptions.enableK8sTokenAuth"
    if not at(cluster.spec, "authOptions.enableK8sTokenAuth"):
        return
    if at(cluster.spec, "authOptions.mode") != "token":
        yield Finding(path=path, found=True, remedy="it needs authOptions.mode: token")
    if _version(cluster) < (2, 55):
        yield Finding(path=path, found=True, remedy="it needs rayVersion 2.55.0 or later")
    if at(cluster.spec, "authOptions.secretName"):
        yield Finding(path=path, found=True, remedy="authOptions.secretName excludes it; leave one of them out")


def autoscaler_v2_restarts_nothing(cluster: Cluster) -> Iterator[Finding]:
    """Pods that restart by themselves (ValidateRayClusterSpec)."""
    for group in cluster.groups if cluster.autoscaler_v2 else []:
        if (policy := group.pod.spec.get("restartPolicy")) not in (None, "", "Never"):
            path = f"{group.pod.path}.restartPolicy"
            yield Finding(path=path, found=policy, remedy="autoscaler v2 replaces pods itself; use Never")


def autoscaler_v2_is_switched_once(cluster: Cluster) -> Iterator[Finding]:
    """A switch without effect, or a second one (ValidateRayClusterSpec)."""
    entry = cluster.head_env(V2_SWITCH)
    path = f"{cluster.head.pod.path}.containers[0].env[{V2_SWITCH}]"
    if entry and not cluster.autoscaling and entry.get("value") in ("1", "true"):
        yield Finding(path=path, found=entry["value"], remedy="it needs enableInTreeAutoscaling: true")
    if entry and cluster.autoscaling and at(cluster.spec, "autoscalerOptions.version"):
        yield Finding(path=path, found=entry.get("value"), remedy="autoscalerOptions.version says it; leave this out")


def workers_suspend_without_autoscaler(cluster: Cluster) -> Iterator[Finding]:
    """A suspended group that the autoscaler would start (ValidateRayClusterSpec)."""
    for group in cluster.workers:
        if group.spec.get("suspend") and cluster.autoscaling:
            path = f"{group.path}.suspend"
            yield Finding(path=path, found=True, remedy="the autoscaler would start it again; leave it out")


def workers_fit_the_autoscaler(cluster: Cluster) -> Iterator[Finding]:
    """What only autoscaler v2 understands (validateWorkerGroupIdleTimeout, validateWorkerGroupPriority)."""
    switch = (cluster.head_env(V2_SWITCH) or {}).get("value") in ("1", "true")
    for group in cluster.workers:
        for name in ("idleTimeoutSeconds", "priority"):
            found = group.spec.get(name)
            if not (cluster.autoscaler_v2 or switch) and (found if name == "priority" else found is not None):
                yield Finding(path=f"{group.path}.{name}", found=found, remedy="it needs autoscalerOptions.version: v2")
        if group.spec.get("priority") and _version(cluster) < (2, 56):
            path, remedy = f"{group.path}.priority", "it needs rayVersion 2.56.0 or later"
            yield Finding(path=path, found=group.spec["priority"], remedy=remedy)


def needs_no_gate(cluster: Cluster) -> Iterator[Finding]:
    """What an operator as installed refuses (ValidateRayClusterSpec, validateGcsFaultToleranceBackend)."""
    for name, gate in GATES.items():
        if cluster.spec.get(name) is not None:
            remedy = f"it needs KubeRay's feature gate {gate}, which is off; leave it out"
            yield Finding(path=f"{cluster.path}.{name}", found="set", remedy=remedy)
    if at(cluster.spec, "gcsFaultToleranceOptions.backend") == "rocksdb":
        path = f"{cluster.path}.gcsFaultToleranceOptions.backend"
        remedy = "it needs KubeRay's feature gate GCSFaultToleranceEmbeddedStorage, which is off; leave it out"
        yield Finding(path=path, found="rocksdb", remedy=remedy)


def redis_is_set_once(cluster: Cluster) -> Iterator[Finding]:
    """Redis told in two places (ValidateRayClusterSpec, validateGcsFaultToleranceBackend)."""
    options = cluster.spec.get("gcsFaultToleranceOptions")
    annotation = "ray.io/ft-enabled"
    remedy = "say it in gcsFaultToleranceOptions alone"
    if options is not None:
        for name in (annotation, "ray.io/external-storage-namespace"):
            if found := cluster.annotations.get(name):
                yield Finding(path=f"metadata.annotations[{name}]", found=found, remedy=remedy)
        if at(options, "storage") is not None and options.get("backend", "redis") == "redis":
            path = f"{cluster.path}.gcsFaultToleranceOptions.storage"
            yield Finding(path=path, found="set", remedy="the backend redis has none; leave it out")
    wrong_env = ["REDIS_USERNAME"] + (["REDIS_PASSWORD", "RAY_REDIS_ADDRESS"] if options is not None else [])
    if options is None and cluster.annotations.get(annotation) != "true":
        wrong_env += ["RAY_REDIS_ADDRESS"]  # Implicitly asks for fault tolerance.
    for name in wrong_env:
        if cluster.head_env(name):
            yield Finding(path=f"{cluster.head.pod.path}.containers[0].env[{name}]", found="set", remedy=remedy)
    for name in ["redis-username"] + (["redis-password"] if options is not None else []):
        if (cluster.head.spec.get("rayStartParams") or {}).get(name):
            yield Finding(path=f"{cluster.head.path}.rayStartParams.{name}", found="set", remedy=remedy)


def autoscaler_is_sound(cluster: Cluster) -> Iterator[Finding]:
    """A negative time, or the start command overwritten (ValidateRayClusterSpec)."""
    options = cluster.spec.get("autoscalerOptions") or {}
    if (options.get("idleTimeoutSeconds") or 0) < 0:
        path = f"{cluster.path}.autoscalerOptions.idleTimeoutSeconds"
        yield Finding(path=path, found=options["idleTimeoutSeconds"], remedy="use 0 or more")
    names = [entry.get("name") for entry in options.get("env") or []]
    if "KUBERAY_GEN_AUTOSCALER_START_CMD" in names:
        path = f"{cluster.path}.autoscalerOptions.env[KUBERAY_GEN_AUTOSCALER_START_CMD]"
        yield Finding(path=path, found="set", remedy="KubeRay sets it; leave it out")


def _version(cluster: Cluster) -> tuple[int, ...]:
    """Ray's version as numbers; () if none is given or it is no version."""
    found = re.match(r"v?(\d+)\.(\d+)", str(cluster.spec.get("rayVersion", "")))
    return tuple(int(number) for number in found.groups()) if found else ()


def has_a_name(document: Document) -> Iterator[Finding]:
    """No name, or one that is too long (ValidateRayClusterMetadata)."""
    name = at(document, "metadata.name")
    if not name or len(name) > 53 or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        remedy = "use at most 53 of a-z, 0-9 and -, a letter first and no - last"
        yield Finding(path="metadata.name", found=name, remedy=remedy)


def upgrades_in_a_known_way(document: Document) -> Iterator[Finding]:
    """An unknown way (ValidateRayClusterUpgradeOptions)."""
    if (found := at(document, "spec.upgradeStrategy.type")) not in (None, "Recreate", "None"):
        yield Finding(path="spec.upgradeStrategy.type", found=found, remedy="choose Recreate or None")


Rule = Callable[[Cluster], Iterator[Finding]]
RULES: tuple[Rule, ...] = (
    groups_have_containers,
    groups_say_resources_once,
    groups_have_labels,
    workers_have_bounds,
    workers_have_names,
    token_needs_a_version,
    kubernetes_token_is_possible,
    autoscaler_v2_restarts_nothing,
    autoscaler_v2_is_switched_once,
    workers_suspend_without_autoscaler,
    workers_fit_the_autoscaler,
    needs_no_gate,
    redis_is_set_once,
    autoscaler_is_sound,
)
DOCUMENT_RULES = (has_a_name, upgrades_in_a_known_way)
