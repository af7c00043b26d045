"""How a RayJob stands, in words; and, if it does not start, why."""

from collections.abc import Mapping, Sequence
from typing import Any

from histoseg.kube import hurdles
from histoseg.kube.api import Cluster, Object
from histoseg.kube.hurdles import Hurdle
from histoseg.kube.rayjob import EXPERIMENT, RESULTS
from histoseg.kube.refusals import RefusedError, one_line

TERMINAL = ("Complete", "Failed", "ValidationFailed")  # jobDeploymentStatus, after which nothing comes (KubeRay 1.7)
QUEUE = "kueue.x-k8s.io/queue-name"
SUBMITTER = "batch.kubernetes.io/job-name"  # KubeRay's submitter is a Job of the RayJob's name
ATTEMPT = "batch.kubernetes.io/controller-uid"  # That Job's; for another attempt KubeRay makes another Job


def describe(found: Object) -> str:
    """A RayJob's state in a few words."""
    now = found.get("status") or {}
    if is_going(found):
        return "being deleted"
    deployment, why = now.get("jobDeploymentStatus") or "", _why(now)
    if deployment == "Complete":
        return "succeeded" if has_succeeded(found) else f"ended as {now.get('jobStatus')}{why}"
    words = {
        "": "suspended" if found["spec"].get("suspend") else "waits for KubeRay",
        "Initializing": f"starting, workers: {_workers(found)}",
        "Waiting": "waits to be run",
        "Running": f"running, workers: {_workers(found)}",
        "Retrying": f"failed and is tried again{why}",
        "Failed": f"failed{why}",
        "ValidationFailed": f"refused by KubeRay{why}",
        "Suspending": "being suspended",
        "Suspended": "suspended",
    }
    return words.get(deployment, f"{deployment}{why}")


def details(cluster: Cluster, found: Object) -> str:
    """The same in a few lines, with what is in its way and where its results go."""
    lines = [f"{found['metadata']['name']}: {describe(found)}", f"since {_since(found)}, workers: {_workers(found)}"]
    try:
        hurdle = None if is_terminal(found) else find_hurdle(cluster, found)
        lines += [hurdle.text] if hurdle else []
    except RefusedError as error:
        lines.append(f"what it waits for cannot be seen: {error}")
    return "\n".join([*lines, f"results: {results_url(found) or 'unknown: it was not submitted by histoseg'}"])


def results_url(found: Object) -> str:
    """Where in the store its results lie, as was noted when it was submitted; "" if nothing was."""
    return str((found["metadata"].get("annotations") or {}).get(RESULTS, ""))


def table(found: Sequence[Object]) -> str:
    """Many jobs, a line each."""
    rows = [["NAME", "EXPERIMENT", "SINCE", "STATE"]]
    for job in sorted(found, key=lambda job: str(job["metadata"].get("creationTimestamp"))):
        experiment = (job["metadata"].get("labels") or {}).get(EXPERIMENT, "")
        rows.append([job["metadata"]["name"], experiment, _since(job), describe(job)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def is_terminal(found: Object) -> bool:
    """Whether nothing more will happen to it."""
    return (found.get("status") or {}).get("jobDeploymentStatus") in TERMINAL


def has_succeeded(found: Object) -> bool:
    """Whether it ended, and well."""
    now = found.get("status") or {}
    return now.get("jobDeploymentStatus") == "Complete" and now.get("jobStatus") == "SUCCEEDED"


def is_going(found: Object) -> bool:
    """Whether it is being deleted."""
    return bool(found["metadata"].get("deletionTimestamp"))


def find_hurdle(cluster: Cluster, found: Object) -> Hurdle | None:
    """What is in the way of a job that is not over, None if nothing is known.

    Raises:
        RefusedError: If the right to look is missing.
    """
    now, name = found.get("status") or {}, found["metadata"]["name"]
    if found["spec"].get("suspend"):
        return _queued(cluster, found)
    ray_cluster = now.get("rayClusterName") or ""
    pods = cluster.pods(f"ray.io/cluster={ray_cluster}") if ray_cluster else []
    pods = [*pods, *cluster.pods(f"{SUBMITTER}={name}")]
    known = hurdles.of_pods(pods) or hurdles.of_ray_cluster(now)
    if known or now.get("jobDeploymentStatus") == "Running":
        return known
    pending = [pod["metadata"]["name"] for pod in pods if (pod.get("status") or {}).get("phase") == "Pending"]
    about = [name, *([ray_cluster] if ray_cluster else []), *pending[:1]]
    events = [event for each in about for event in cluster.events(each)]
    return hurdles.of_events(events, found["metadata"].get("creationTimestamp") or "")


def _queued(cluster: Cluster, found: Object) -> Hurdle | None:
    """What Kueue waits for, as far as we may see it."""
    queue = (found["metadata"].get("labels") or {}).get(QUEUE)
    if not queue:
        return Hurdle(kind="suspended", text="somebody set spec.suspend; it goes on when that is false")
    try:
        workloads = cluster.workloads(found["metadata"]["uid"])
    except RefusedError:
        workloads = []
    return hurdles.of_kueue(workloads, queue)


def _why(now: Mapping[str, Any]) -> str:
    """Such as `: AppFailed: …`, in KubeRay's words, or nothing."""
    return "".join(f": {one_line(str(now[key]))}" for key in ("reason", "message") if now.get(key))


def _since(found: Object) -> str:
    """When it began to be so, as far as is known."""
    now = found.get("status") or {}
    return str(now.get("endTime") or now.get("startTime") or found["metadata"].get("creationTimestamp") or "?")


def _workers(found: Object) -> str:
    ray = (found.get("status") or {}).get("rayClusterStatus") or {}
    return f"{ray.get('readyWorkerReplicas', 0)} of {ray.get('desiredWorkerReplicas', 0)} ready"
