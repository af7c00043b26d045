"""The state of a RayJob as text, and why it has not started."""

from collections.abc import Sequence

from histoseg.kube import pending_reasons
from histoseg.kube.api import Cluster
from histoseg.kube.objects import Object, Pod, RayJob, read
from histoseg.kube.pending_reasons import PendingReason
from histoseg.kube.rayjob import EXPERIMENT, RESULTS
from histoseg.kube.refusals import RefusedError, one_line

TERMINAL = ("Complete", "Failed", "ValidationFailed")  # The last values of jobDeploymentStatus (KubeRay 1.7)
QUEUE = "kueue.x-k8s.io/queue-name"
SUBMITTER = "batch.kubernetes.io/job-name"  # KubeRay's submitter is a Job of the RayJob's name
ATTEMPT = "batch.kubernetes.io/controller-uid"  # That Job's uid; KubeRay creates another Job for another attempt


def describe(found: Object) -> str:
    """A RayJob's state in a few words."""
    job = _read(found)
    if job.deleted:
        return "being deleted"
    why = "".join(f": {one_line(text)}" for text in (job.reason, job.message) if text)  # Such as `: AppFailed: …`
    if job.deployment_status == "Complete":
        return "succeeded" if has_succeeded(found) else f"ended as {job.job_status}{why}"
    words = {
        "": "suspended" if job.suspend else "waits for KubeRay",
        "Initializing": f"starting, workers: {_workers(job)}",
        "Waiting": "waits to be run",
        "Running": f"running, workers: {_workers(job)}",
        "Retrying": f"failed and is tried again{why}",
        "Failed": f"failed{why}",
        "ValidationFailed": f"refused by KubeRay{why}",
        "Suspending": "being suspended",
        "Suspended": "suspended",
    }
    return words.get(job.deployment_status, f"{job.deployment_status}{why}")


def details(cluster: Cluster, found: Object) -> str:
    """The state in a few lines, with why the job has not started and where its results go."""
    job = _read(found)
    lines = [f"{job.name}: {describe(found)}", f"since {_since(job)}, workers: {_workers(job)}"]
    try:
        reason = None if is_terminal(found) else find_pending_reason(cluster, found)
        lines += [reason.text] if reason else []
    except RefusedError as error:
        lines.append(f"why it waits is unknown: {error}")
    return "\n".join([*lines, f"results: {results_url(found) or 'unknown: it was not submitted by histoseg'}"])


def results_url(found: Object) -> str:
    """The store URL of its results, as noted when it was submitted; "" if there is no such note."""
    return _read(found).annotations.get(RESULTS, "")


def table(found: Sequence[Object]) -> str:
    """Many jobs, a line each."""
    rows = [["NAME", "EXPERIMENT", "SINCE", "STATE"]]
    for each in sorted(found, key=lambda each: _read(each).created):
        job = _read(each)
        rows.append([job.name, job.labels.get(EXPERIMENT, ""), _since(job), describe(each)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def is_terminal(found: Object) -> bool:
    """Whether its state is final."""
    return _read(found).deployment_status in TERMINAL


def has_succeeded(found: Object) -> bool:
    """Whether it has ended with success."""
    job = _read(found)
    return (job.deployment_status, job.job_status) == ("Complete", "SUCCEEDED")


def is_going(found: Object) -> bool:
    """Whether it is being deleted."""
    return bool(_read(found).deleted)


def find_pending_reason(cluster: Cluster, found: Object) -> PendingReason | None:
    """Why a job that has not ended does not run; None if nothing is known."""
    job = _read(found)
    if job.suspend:
        return _why_suspended(cluster, job)
    selectors = [f"ray.io/cluster={job.ray_cluster}"] if job.ray_cluster else []
    listed = [pod for selector in (*selectors, f"{SUBMITTER}={job.name}") for pod in cluster.pods(selector)]
    pods = [read(Pod, pod, f"a pod of {job.name}") for pod in listed]
    known = pending_reasons.from_pods(pods) or pending_reasons.from_ray_cluster(job.cluster_conditions)
    if known or job.deployment_status == "Running":
        return known
    pending = [pod.name for pod in pods if pod.phase == "Pending"]
    names = [job.name, *([job.ray_cluster] if job.ray_cluster else []), *pending[:1]]
    events = [event for name in names for event in cluster.events(name)]
    return pending_reasons.from_events(events, job.created)


def _why_suspended(cluster: Cluster, job: RayJob) -> PendingReason:
    queue = job.labels.get(QUEUE)
    if not queue:
        return PendingReason(kind="suspended", text="spec.suspend was set by hand; set it to false to go on")
    try:
        workloads = cluster.workloads(job.uid)
    except RefusedError:
        workloads = []
    return pending_reasons.from_kueue(workloads, queue)


def _read(found: Object) -> RayJob:
    return read(RayJob, found, "RayJob")


def _since(job: RayJob) -> str:
    """The time of its last known change."""
    return job.ended or job.started or job.created or "?"


def _workers(job: RayJob) -> str:
    return f"{job.ready_workers} of {job.desired_workers} ready"
