"""What KubeRay's controller asks of a RayJob beyond the schema of its CRD, and what we ask beside that.

Each rule yields what breaks it, and names the function that enforces it: those without a file are in KubeRay 1.7's
ray-operator/controllers/ray/utils/validation.go.
"""

from collections.abc import Callable, Iterator
from typing import Any

from histoseg.kube.rules.manifest import Document, Finding, at, cluster_of, has_submitter, is_gpu
from histoseg.runs.request import MAX_NAME_CHARS, NAME

MODES = ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")


def has_a_name(job: Document) -> Iterator[Finding]:
    """No name, or one that is too long (ValidateRayJobMetadata)."""
    name = at(job, "metadata.name")
    if not name or len(name) > MAX_NAME_CHARS or not NAME.fullmatch(name):
        remedy = f"use at most {MAX_NAME_CHARS} of a-z, 0-9 and -, a letter first and no - last"
        yield Finding(path="metadata.name", found=name, remedy=remedy)


def has_an_entrypoint(job: Document) -> Iterator[Finding]:
    """No command: ours, for KubeRay would start the whole cluster for nothing."""
    if not at(job, "spec.entrypoint") and at(job, "spec.submissionMode") != "InteractiveMode":
        yield Finding(path="spec.entrypoint", found=at(job, "spec.entrypoint"), remedy="give the command to run")


def knows_its_mode(job: Document) -> Iterator[Finding]:
    """An unknown mode: a plain string in the CRD, and common/job.go's BuildJobSubmitCommand has no command for it."""
    mode = at(job, "spec.submissionMode")
    if mode is not None and mode not in MODES:
        yield Finding(path="spec.submissionMode", found=mode, remedy=f"choose {', '.join(MODES)}")


def has_one_cluster(job: Document) -> Iterator[Finding]:
    """No cluster to run on (ValidateRayJobSpec)."""
    selector, spec = at(job, "spec.clusterSelector") or {}, at(job, "spec.rayClusterSpec")
    if spec is None and not selector:
        yield Finding(path="spec.rayClusterSpec", found=None, remedy="give one, or a clusterSelector")
    if selector and not selector.get("ray.io/cluster"):
        found = selector.get("ray.io/cluster")
        yield Finding(path="spec.clusterSelector[ray.io/cluster]", found=found, remedy="name the cluster to run on")


def sidecar_stands_alone(job: Document) -> Iterator[Finding]:
    """What SidecarMode excludes (ValidateRayJobSpec)."""
    if at(job, "spec.submissionMode") != "SidecarMode":
        return
    for name in ("clusterSelector", "submitterPodTemplate", "submitterConfig"):
        if (found := at(job, f"spec.{name}")) is not None:
            yield Finding(
                path=f"spec.{name}", found=_brief(found), remedy="SidecarMode has no use for it; leave it out"
            )
    path = "spec.rayClusterSpec.headGroupSpec.template.spec.restartPolicy"
    if (policy := at(job, path)) not in (None, "", "Never"):
        yield Finding(path=path, found=policy, remedy="SidecarMode needs Never")


def retries_where_it_can(job: Document) -> Iterator[Finding]:
    """Retries where there can be none (ValidateRayJobSpec)."""
    limit = at(job, "spec.backoffLimit") or 0
    interactive = at(job, "spec.submissionMode") == "InteractiveMode"
    if limit < 0:
        yield Finding(path="spec.backoffLimit", found=limit, remedy="use 0 or more")
    if limit > 0 and (at(job, "spec.clusterSelector") or interactive):
        reason = "InteractiveMode" if interactive else "clusterSelector"
        yield Finding(path="spec.backoffLimit", found=limit, remedy=f"{reason} allows no retry; use 0")


def keeps_finished_only_if_shut_down(job: Document) -> Iterator[Finding]:
    """A time to keep what is not shut down (validateDeletionConfiguration, ValidateRayJobSpec)."""
    seconds = at(job, "spec.ttlSecondsAfterFinished") or 0
    if seconds < 0:
        yield Finding(path="spec.ttlSecondsAfterFinished", found=seconds, remedy="use 0 or more")
    if seconds > 0 and not at(job, "spec.shutdownAfterJobFinishes"):
        remedy = "it needs shutdownAfterJobFinishes: true"
        yield Finding(path="spec.ttlSecondsAfterFinished", found=seconds, remedy=remedy)


def suspends_what_it_may(job: Document) -> Iterator[Finding]:
    """A suspension that would not free a cluster (ValidateRayJobSpec)."""
    if not at(job, "spec.suspend"):
        return
    if not at(job, "spec.shutdownAfterJobFinishes"):
        yield Finding(path="spec.suspend", found=True, remedy="it needs shutdownAfterJobFinishes: true")
    if at(job, "spec.clusterSelector"):
        yield Finding(path="spec.suspend", found=True, remedy="clusterSelector allows no suspension; leave one out")


def has_positive_deadlines(job: Document) -> Iterator[Finding]:
    """Deadlines that are over before they begin (ValidateRayJobSpec)."""
    for name in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if (seconds := at(job, f"spec.{name}")) is not None and seconds <= 0:
            yield Finding(path=f"spec.{name}", found=seconds, remedy="use 1 or more")


def gpus_have_a_deadline(job: Document) -> Iterator[Finding]:
    """GPUs without a deadline: ours, for a job that hangs must not hold them for ever."""
    cluster = cluster_of(job)
    if cluster is None or at(job, "spec.activeDeadlineSeconds") is not None:
        return
    names = [group.name for group in cluster.workers if any(_gpus(c) for _, c in group.pod.containers())]
    if names:
        remedy = f"worker group {names[0]} has GPUs, so set after how long the job is ended"
        yield Finding(path="spec.activeDeadlineSeconds", found=None, remedy=remedy)


def needs_no_kubernetes_token(job: Document) -> Iterator[Finding]:
    """A Kubernetes token (ValidateRayJobSpec)."""
    path = "spec.rayClusterSpec.authOptions.enableK8sTokenAuth"
    if at(job, path):
        yield Finding(path=path, found=True, remedy="a RayJob cannot use it; leave it out, authOptions.mode is enough")


def leaves_upgrades_alone(job: Document) -> Iterator[Finding]:
    """An upgrade of a cluster that a RayJob makes (ValidateRayClusterUpgradeOptions, after the job was accepted)."""
    path = "spec.rayClusterSpec.upgradeStrategy.type"
    if found := at(job, path):
        yield Finding(path=path, found=found, remedy="only a RayCluster of its own can be upgraded; leave it out")


def runtime_env_is_harmless(job: Document) -> Iterator[Finding]:
    """No YAML (ValidateRayJobSpec), or variables: ours, for Ray's dashboard shows them."""
    import yaml

    path, text = "spec.runtimeEnvYAML", at(job, "spec.runtimeEnvYAML") or ""
    try:
        parsed = yaml.safe_load(text)
    except yaml.YAMLError:
        yield Finding(path=path, found="no YAML", remedy="correct it, or leave it out")
        return
    if isinstance(parsed, dict) and parsed.get("env_vars"):
        names = ", ".join(sorted(parsed["env_vars"]))
        remedy = "Ray's dashboard shows these; set them in the containers' env, secrets by secretKeyRef"
        yield Finding(path=f"{path}.env_vars", found=names, remedy=remedy)


def submitter_ends(job: Document) -> Iterator[Finding]:
    """A submitter that would be restarted for ever, which Kubernetes refuses in a Job."""
    path = "spec.submitterPodTemplate.spec.restartPolicy"
    if at(job, "spec.submitterPodTemplate") is not None and at(job, path) not in ("Never", "OnFailure"):
        yield Finding(path=path, found=at(job, path), remedy="a Job's pods need Never or OnFailure")


def submitter_is_given(job: Document) -> Iterator[Finding]:
    """KubeRay's own submitter: ours, for it has no security context, which Pod Security's `restricted` refuses."""
    if has_submitter(job) and at(job, "spec.submitterPodTemplate") is None:
        remedy = "give one with a security context; KubeRay's own has none"
        yield Finding(path="spec.submitterPodTemplate", found=None, remedy=remedy)


def _brief(value: Any) -> Any:
    return "set" if isinstance(value, dict | list) else value


def _gpus(container: Document) -> bool:
    limits = at(container, "resources.limits") or {}
    return any(is_gpu(name) and str(amount) != "0" for name, amount in limits.items())


Rule = Callable[[Document], Iterator[Finding]]
FILLED_IN: tuple[Rule, ...] = (has_a_name, has_an_entrypoint)  # What a template gets when it is submitted.
RULES: tuple[Rule, ...] = (
    *FILLED_IN,
    knows_its_mode,
    has_one_cluster,
    sidecar_stands_alone,
    retries_where_it_can,
    keeps_finished_only_if_shut_down,
    suspends_what_it_may,
    has_positive_deadlines,
    gpus_have_a_deadline,
    needs_no_kubernetes_token,
    leaves_upgrades_alone,
    runtime_env_is_harmless,
    submitter_ends,
    submitter_is_given,
)
